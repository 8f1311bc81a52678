"""Ministral: Mistral with a window in some layers."""

from core.families.family import Family

FAMILY = Family(
    model_type="ministral",
    class_name="MinistralForCausalLM",
    window="sliding_window",
    has_layer_types=True,
)
