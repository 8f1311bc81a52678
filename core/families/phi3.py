"""Phi-3 and Phi-4: Llama's layers with joined projections, which may rotate a part of each head."""

from core.families.family import Family

FAMILY = Family(
    model_type="phi3",
    class_name="Phi3ForCausalLM",
    attention={"qkv": "self_attn.qkv_proj", "o": "self_attn.o_proj"},
    feed_forward={"gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"},
    window="sliding_window",
    rotates_parts=True,
)
