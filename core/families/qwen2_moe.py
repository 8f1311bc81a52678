"""Qwen2 with experts, beside one that all rows pass."""

from core.families.family import (
    GGUF_EXPERT_COUNT,
    GGUF_EXPERTS_USED,
    ExpertsOf,
    Gguf,
    GgufKey,
    Key,
)
from core.families.qwen2 import FAMILY as QWEN2
from core.families.qwen3_moe import EXPERT_TENSORS

FAMILY = QWEN2._replace(
    model_type="qwen2_moe",
    class_name="Qwen2MoeForCausalLM",
    gguf=Gguf(
        "qwen2moe",
        settings={
            "num_experts": GGUF_EXPERT_COUNT,
            **GGUF_EXPERTS_USED,
            "moe_intermediate_size": GgufKey(
                "expert_feed_forward_length",
                lambda found: found["intermediate_size"] // found["num_experts_per_tok"],
            ),
            "shared_expert_intermediate_size": GgufKey(
                "expert_shared_feed_forward_length", lambda found: found["intermediate_size"]
            ),
            "mlp_only_layers": [],
            "decoder_sparse_step": 1,
            "norm_topk_prob": False,
            "use_sliding_window": False,
        },
    ),
    biases=dict.fromkeys(("q", "k", "v"), Key("qkv_bias")),
    experts=ExpertsOf(
        num_experts="num_experts",
        inner_size="moe_intermediate_size",
        tensors=EXPERT_TENSORS,
        shared={
            "gate": "mlp.shared_expert.gate_proj",
            "up": "mlp.shared_expert.up_proj",
            "down": "mlp.shared_expert.down_proj",
            "scale": "mlp.shared_expert_gate",
        },
        shared_size="shared_expert_intermediate_size",
        dense_layers="mlp_only_layers",
        sparse_step="decoder_sparse_step",
        is_normalized=Key("norm_topk_prob"),
    ),
)
