"""Mixtral (Jiang et al. 2024): eight experts in the place of Mistral's feed-forward."""

from core.families.family import GGUF_EXPERT_COUNT, GGUF_EXPERTS_USED, ExpertsOf, Family, Gguf

FAMILY = Family(
    model_type="mixtral",
    class_name="MixtralForCausalLM",
    gguf=Gguf(
        "llama",
        needs="expert_count",
        is_permuted=True,
        has_divisors=True,
        settings={
            "num_local_experts": GGUF_EXPERT_COUNT,
            **GGUF_EXPERTS_USED,
            "sliding_window": None,
        },
    ),
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
