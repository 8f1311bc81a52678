"""Granite: Llama's layers with scales of embedding, attention, residual and logits."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family, Key

FAMILY = Family(
    model_type="granite",
    class_name="GraniteForCausalLM",
    biases=ATTENTION_BIASES | MLP_BIASES,
    attention_scale=Key("attention_multiplier"),
    embedding_scale=Key("embedding_multiplier"),
    residual_scale=Key("residual_multiplier"),
    logit_scale=Key("logits_scaling", -1.0),
)
