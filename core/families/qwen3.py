"""Qwen3: norms of each head's queries and keys."""

from core.families.family import ATTENTION_BIASES, HEAD_NORMS, LLAMA_NORMS, Family, Gguf

FAMILY = Family(
    model_type="qwen3",
    class_name="Qwen3ForCausalLM",
    norms=LLAMA_NORMS | HEAD_NORMS,
    gguf=Gguf("qwen3", settings={"use_sliding_window": False}),
    biases=ATTENTION_BIASES,
    window="sliding_window",
    has_window="use_sliding_window",
    has_layer_types=True,
    without_effect=frozenset({"max_window_layers"}),
)
