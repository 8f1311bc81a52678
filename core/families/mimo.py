"""MiMo (Xiaomi 2025): Qwen2's layers, with one more for multi-token prediction."""

from core.families.family import Family

FAMILY = Family(
    model_type="mimo",
    class_name="MiMoForCausalLM",
    biases={"q": True, "k": True, "v": True},
    window="sliding_window",
    has_window="use_sliding_window",
    without_effect=frozenset({"attention_bias", "auto_map", "max_window_layers", "use_mrope"}),
)
