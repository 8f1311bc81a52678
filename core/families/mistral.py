"""Mistral (Jiang et al. 2023): Llama's layers, in the first version with a window."""

from core.families.family import Family

FAMILY = Family(model_type="mistral", class_name="MistralForCausalLM", window="sliding_window")
