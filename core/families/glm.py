"""GLM-4 of 2024: half of a head rotates, neighbours together."""

from core.families.family import Family, Key

FAMILY = Family(
    model_type="glm",
    class_name="GlmForCausalLM",
    feed_forward={"gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"},
    biases=dict.fromkeys(("q", "k", "v"), Key("attention_bias")),
    rotated_share=0.5,
    is_interleaved=True,
)
