"""SmolLM3: Llama's layers, every fourth without positions."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family

FAMILY = Family(
    model_type="smollm3",
    class_name="SmolLM3ForCausalLM",
    biases=ATTENTION_BIASES | MLP_BIASES,
    window="sliding_window",
    has_window="use_sliding_window",
    has_layer_types=True,
    unrotated="no_rope_layers",
    without_effect=frozenset({"no_rope_layer_interval", "max_window_layers"}),
)
