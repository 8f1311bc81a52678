"""GLM-4: norms on both sides of each part; half of a head rotates, neighbours together."""

from core.families.family import Family, Gguf, Key

FAMILY = Family(
    model_type="glm4",
    class_name="Glm4ForCausalLM",
    gguf=Gguf("glm4"),
    norms={
        "input_norm": "input_layernorm",
        "attention_out_norm": "post_self_attn_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "ffn_out_norm": "post_mlp_layernorm",
    },
    feed_forward={"gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"},
    biases=dict.fromkeys(("q", "k", "v"), Key("attention_bias")),
    rotated_share=0.5,
    is_interleaved=True,
)
