"""A small configuration of every family that GGUF files have, with what such a file can say."""

from pathlib import Path
from typing import Any

from transformers import (
    ArceeConfig,
    CohereConfig,
    Ernie4_5Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    Llama4TextConfig,
    LlamaConfig,
    MixtralConfig,
    NemotronConfig,
    Olmo3Config,
    OlmoeConfig,
    Phi3Config,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    Starcoder2Config,
)

from tests.core.families import family_configs
from tests.core.families.family_configs import _EXPERTS, _FOUR, _HALF, _SIZES, _WINDOWED, CONFIGS

# Every head has keys and values of its own.
_ALL_HEADS = {name: size for name, size in _SIZES.items() if name != "num_key_value_heads"}
RECORDED = Path(__file__).with_name("llama_cpp_families.json")
_SWA = {"rope_type": "default", "rope_theta": 10_000.0}
_YARN = {
    "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
_LONG = {
    "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0 + n / 8 for n in range(8)],
    "long_factor": [4.0] * 8,
}  # fmt: skip

CASES: dict[str, Any] = {
    "llama": CONFIGS["llama"],
    "llama, divided": LlamaConfig(**_SIZES, rope_parameters=_LLAMA3),
    "mixtral": MixtralConfig(**_SIZES, num_local_experts=4, num_experts_per_tok=2),
    "qwen2": Qwen2Config(**_SIZES, tie_word_embeddings=True),
    "qwen2_moe": Qwen2MoeConfig(
        **_SIZES, **_EXPERTS, shared_expert_intermediate_size=96, norm_topk_prob=False
    ),
    "qwen3": Qwen3Config(**_SIZES, head_dim=32, rope_parameters=_YARN),
    "qwen3_moe": Qwen3MoeConfig(**_SIZES, **_EXPERTS, head_dim=16, norm_topk_prob=True),
    "gemma": CONFIGS["gemma"],
    "gemma2": Gemma2Config(
        **_FOUR, **_WINDOWED, head_dim=32, query_pre_attn_scalar=32, attn_logit_softcapping=2.0,
        final_logit_softcapping=30.0,
    ),
    "gemma3": Gemma3TextConfig(
        **{**_SIZES, "num_hidden_layers": 6}, **_WINDOWED, head_dim=32, query_pre_attn_scalar=32,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": _SWA,
        },
    ),
    "phi3": CONFIGS["phi3"],
    "phi3, part": Phi3Config(**_SIZES, rope_parameters=_HALF),
    "phi3, long": Phi3Config(
        **_SIZES, rope_parameters=_LONG, original_max_position_embeddings=256
    ),
    "olmo2": CONFIGS["olmo2"],
    "olmo3": Olmo3Config(
        **_FOUR, **_WINDOWED,
        rope_parameters={
            "full_attention": {**_YARN, "attention_factor": 1.1386294361119891},
            "sliding_attention": _SWA,
        },
    ),
    "olmoe": OlmoeConfig(
        **{**_SIZES, "num_key_value_heads": 4}, num_experts=4, num_experts_per_tok=2
    ),
    "smollm3": CONFIGS["smollm3"],
    "granite": CONFIGS["granite"],
    "glm4": CONFIGS["glm4"],
    "gpt_oss": CONFIGS["gpt_oss"],
    "gpt_neox": GPTNeoXConfig(**_ALL_HEADS),
    "gpt_neox, in turn": GPTNeoXConfig(
        **_ALL_HEADS, use_parallel_residual=False, rope_parameters=_HALF
    ),
    "starcoder2": Starcoder2Config(**_SIZES, sliding_window=4096, tie_word_embeddings=False),
    "stablelm": CONFIGS["stablelm"],
    "stablelm, side by side": CONFIGS["stablelm, side by side"],
    "nemotron": NemotronConfig(**_SIZES, mlp_bias=True),
    "phi": CONFIGS["phi"],
    "cohere": CohereConfig(**_SIZES, logit_scale=0.5),
    "cohere2": CONFIGS["cohere2"],
    "olmo": CONFIGS["olmo"],
    "arcee": ArceeConfig(**_SIZES),
    "ernie4_5": Ernie4_5Config(**_SIZES, head_dim=32),
    "seed_oss": CONFIGS["seed_oss"],
    "exaone4": CONFIGS["exaone4"],
    "exaone4, without windows": CONFIGS["exaone4, without windows"],
    "llama4": Llama4TextConfig(
        **_FOUR, intermediate_size_mlp=96, head_dim=16, num_local_experts=4, use_qk_norm=True,
        attention_chunk_size=8192, floor_scale=8192, interleave_moe_layer_step=2,
    ),
}  # fmt: skip


# llama.cpp leaves the window of Phi-3 out and says that answers may be worse for it, and knows by its 64
# layers that EXAONE 4 has windows.
NOT_AS_LLAMA_CPP = ("phi3", "exaone4")


def random_module(case: str) -> Any:
    """See `family_configs`."""
    return family_configs.module_of(CASES[case])
