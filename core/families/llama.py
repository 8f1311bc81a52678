"""Llama 2 and 3, and what has its shape (Touvron et al. 2023)."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family, Gguf

FAMILY = Family(
    model_type="llama",
    class_name="LlamaForCausalLM",
    gguf=Gguf("llama", is_permuted=True, has_divisors=True),
    biases=ATTENTION_BIASES | MLP_BIASES,
)
