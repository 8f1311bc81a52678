"""Llama 2 and 3, and what has its shape (Touvron et al. 2023)."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family

FAMILY = Family(
    model_type="llama", class_name="LlamaForCausalLM", biases=ATTENTION_BIASES | MLP_BIASES
)
