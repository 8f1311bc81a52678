"""Qwen3 with experts, in all layers or in some."""

from core.families.family import ATTENTION_BIASES, HEAD_NORMS, LLAMA_NORMS, ExpertsOf, Family, Key

EXPERT_TENSORS = {
    "router": "mlp.gate",
    "gate": "mlp.experts.{}.gate_proj",
    "up": "mlp.experts.{}.up_proj",
    "down": "mlp.experts.{}.down_proj",
}
FAMILY = Family(
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
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
