"""OLMoE (Muennighoff et al. 2024): many small experts, norms over the queries and keys of all heads."""

from core.families.family import ATTENTION_BIASES, HEAD_NORMS, LLAMA_NORMS, ExpertsOf, Family, Key
from core.families.qwen3_moe import EXPERT_TENSORS

FAMILY = Family(
    model_type="olmoe",
    class_name="OlmoeForCausalLM",
    norms=LLAMA_NORMS | HEAD_NORMS,
    norms_all_heads=True,
    biases=ATTENTION_BIASES,
    experts=ExpertsOf(
        num_experts="num_experts",
        inner_size="intermediate_size",
        tensors=EXPERT_TENSORS,
        is_normalized=Key("norm_topk_prob"),
    ),
    expects={"clip_qkv": None},
)
