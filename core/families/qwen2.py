"""Qwen2 and 2.5: biases of queries, keys and values; some layers may have a window."""

from core.families.family import Family, Gguf

FAMILY = Family(
    model_type="qwen2",
    class_name="Qwen2ForCausalLM",
    gguf=Gguf("qwen2", settings={"use_sliding_window": False}),
    biases={"q": True, "k": True, "v": True},
    window="sliding_window",
    has_window="use_sliding_window",
    has_layer_types=True,
    without_effect=frozenset({"max_window_layers"}),
)
