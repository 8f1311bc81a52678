"""Mixtral (Jiang et al. 2024): eight experts in the place of Mistral's feed-forward."""

from core.families.family import ExpertsOf, Family

FAMILY = Family(
    model_type="mixtral",
    class_name="MixtralForCausalLM",
    window="sliding_window",
    experts=ExpertsOf(
        num_experts="num_local_experts",
        inner_size="intermediate_size",
        tensors={
            "router": "block_sparse_moe.gate",
            "gate": "block_sparse_moe.experts.{}.w1",
            "up": "block_sparse_moe.experts.{}.w3",
            "down": "block_sparse_moe.experts.{}.w2",
        },
    ),
)
