"""OLMoE (Muennighoff et al. 2024): many small experts, norms over the queries and keys of all heads."""

from core.families.family import (
    ATTENTION_BIASES,
    GGUF_EXPERT_COUNT,
    GGUF_EXPERTS_USED,
    HEAD_NORMS,
    LLAMA_NORMS,
    ExpertsOf,
    Family,
    Gguf,
    Key,
)
from core.families.qwen3_moe import EXPERT_TENSORS

FAMILY = Family(
    model_type="olmoe",
    class_name="OlmoeForCausalLM",
    gguf=Gguf(
        "olmoe",
        settings={"num_experts": GGUF_EXPERT_COUNT, **GGUF_EXPERTS_USED, "norm_topk_prob": False},
    ),
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
