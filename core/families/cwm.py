"""CWM: Llama 3 with a window in most layers."""

from core.families.family import MLP_BIASES, Family

FAMILY = Family(
    model_type="cwm",
    class_name="CwmForCausalLM",
    biases=MLP_BIASES,
    window="sliding_window",
    has_layer_types=True,
)
