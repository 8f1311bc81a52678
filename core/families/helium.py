"""Helium: Llama's layers, in whose heads neighbours rotate together."""

from core.families.family import MLP_BIASES, Family, Key

FAMILY = Family(
    model_type="helium",
    class_name="HeliumForCausalLM",
    biases=MLP_BIASES | dict.fromkeys(("q", "k", "v"), Key("attention_bias")),
    is_interleaved=True,
)
