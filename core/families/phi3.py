"""Phi-3 and Phi-4: Llama's layers with joined projections, which may rotate a part of each head."""

from core.families.family import Family, Gguf, GgufKey

FAMILY = Family(
    model_type="phi3",
    class_name="Phi3ForCausalLM",
    gguf=Gguf(
        "phi3",
        settings={"sliding_window": GgufKey("attention.sliding_window", lambda _: None)},
        has_long_factors=True,
    ),
    attention={"qkv": "self_attn.qkv_proj", "o": "self_attn.o_proj"},
    feed_forward={"gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"},
    window="sliding_window",
    rotated_share=1.0,
)
