"""Llama 4, text alone: chunks, layers without positions, one expert a row beside a shared one."""

from core.families.family import ATTENTION_BIASES, ExpertsOf, Family, Key, Stacked

FAMILY = Family(
    model_type="llama4_text",
    class_name="Llama4ForCausalLM",
    biases=ATTENTION_BIASES,
    has_layer_types=True,
    chunk="attention_chunk_size",
    unrotated="no_rope_layers",
    is_interleaved=True,
    norms_rotated=Key("use_qk_norm"),
    temperature=("attn_temperature_tuning", "attn_scale", "floor_scale"),
    experts=ExpertsOf(
        num_experts="num_local_experts",
        inner_size="intermediate_size",
        tensors={
            "router": "feed_forward.router",
            "gate_up": "feed_forward.experts.gate_up_proj",
            "down": "feed_forward.experts.down_proj",
        },
        stacked=Stacked(is_interleaved=False),
        shared={
            "gate": "feed_forward.shared_expert.gate_proj",
            "up": "feed_forward.shared_expert.up_proj",
            "down": "feed_forward.shared_expert.down_proj",
        },
        shared_size="intermediate_size",
        dense={
            "gate": "feed_forward.gate_proj",
            "up": "feed_forward.up_proj",
            "down": "feed_forward.down_proj",
        },
        dense_size="intermediate_size_mlp",
        sparse_layers="moe_layers",
        is_sigmoid=True,
    ),
    without_effect=frozenset({"no_rope_layer_interval", "interleave_moe_layer_step"}),
)
