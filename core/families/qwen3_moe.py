"""Qwen3 with experts, in all layers or in some."""

from core.families.family import (
    ATTENTION_BIASES,
    GGUF_EXPERT_COUNT,
    GGUF_EXPERTS_USED,
    HEAD_NORMS,
    LLAMA_NORMS,
    ExpertsOf,
    Family,
    Gguf,
    GgufKey,
    Key,
)

EXPERT_TENSORS = {
    "router": "mlp.gate",
    "gate": "mlp.experts.{}.gate_proj",
    "up": "mlp.experts.{}.up_proj",
    "down": "mlp.experts.{}.down_proj",
}
FAMILY = Family(
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
    gguf=Gguf(
        "qwen3moe",
        settings={
            "num_local_experts": GGUF_EXPERT_COUNT,
            **GGUF_EXPERTS_USED,
            "moe_intermediate_size": GgufKey(
                "expert_feed_forward_length",
                lambda found: found["intermediate_size"] // found["num_experts_per_tok"],
            ),
            "mlp_only_layers": [],
            "decoder_sparse_step": 1,
            "norm_topk_prob": True,
            "use_sliding_window": False,
        },
    ),
    norms=LLAMA_NORMS | HEAD_NORMS,
    biases=ATTENTION_BIASES,
    window="sliding_window",
    has_window="use_sliding_window",
    experts=ExpertsOf(
        num_experts="num_local_experts",
        inner_size="moe_intermediate_size",
        tensors=EXPERT_TENSORS,
        dense_layers="mlp_only_layers",
        sparse_step="decoder_sparse_step",
        is_normalized=Key("norm_topk_prob"),
    ),
    without_effect=frozenset({"max_window_layers"}),
)
