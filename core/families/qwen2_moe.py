"""Qwen2 with experts, beside one that all rows pass."""

from core.families.family import ExpertsOf, Key
from core.families.qwen2 import FAMILY as QWEN2
from core.families.qwen3_moe import EXPERT_TENSORS

FAMILY = QWEN2._replace(
    model_type="qwen2_moe",
    class_name="Qwen2MoeForCausalLM",
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
