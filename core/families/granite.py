"""Granite: Llama's layers with scales of embedding, attention, residual and logits."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family, Gguf, GgufKey, Key

FAMILY = Family(
    model_type="granite",
    class_name="GraniteForCausalLM",
    gguf=Gguf(
        "granite",
        settings={
            "attention_multiplier": GgufKey(
                "attention.scale", lambda found: found["head_dim"] ** -0.5
            ),
            "embedding_multiplier": GgufKey("embedding_scale", 1.0),
            "residual_multiplier": GgufKey("residual_scale", 1.0),
            "logits_scaling": GgufKey("logit_scale"),
        },
        is_permuted=True,
        has_divisors=True,
        # Where it is false, no layer has positions.
        expects={"rope.scaling.finetuned": (True,)},
    ),
    biases=ATTENTION_BIASES | MLP_BIASES,
    attention_scale=Key("attention_multiplier"),
    embedding_scale=Key("embedding_multiplier"),
    residual_scale=Key("residual_multiplier"),
    logit_scale=Key("logits_scaling", -1.0),
)
