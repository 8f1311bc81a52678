"""A small configuration of every family, with whatever sets it apart switched on."""

from typing import Any

import torch
from transformers import (
    ArceeConfig,
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    CwmConfig,
    Ernie4_5Config,
    Exaone4Config,
    ExaoneConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GlmConfig,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    HeliumConfig,
    InternLM3Config,
    IQuestCoderConfig,
    Jais2Config,
    Llama4TextConfig,
    LlamaConfig,
    MinistralConfig,
    MistralConfig,
    MixtralConfig,
    NemotronConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoConfig,
    OlmoeConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SeedOssConfig,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
    VaultGemmaConfig,
)

WINDOW = 8
_SIZES: dict[str, Any] = {
    "vocab_size": 192,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_FOUR = {**_SIZES, "num_hidden_layers": 4}
_WINDOWED = {"sliding_window": WINDOW}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_HALF = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
_LONG = {
    "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8, "original_max_position_embeddings": 256,
}  # fmt: skip

CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(**_SIZES, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**_SIZES, **_WINDOWED),
    "qwen2": Qwen2Config(**_SIZES, **_WINDOWED, use_sliding_window=True, max_window_layers=1),
    "qwen3": Qwen3Config(
        **_SIZES, **_WINDOWED, head_dim=32, use_sliding_window=True, max_window_layers=1
    ),
    "gemma": GemmaConfig(**_SIZES, head_dim=32),
    "gemma2": Gemma2Config(
        **_SIZES, **_WINDOWED, head_dim=16, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    ),
    "gemma3_text": Gemma3TextConfig(
        **{**_SIZES, "num_hidden_layers": 6}, **_WINDOWED, head_dim=32, query_pre_attn_scalar=16
    ),
    "phi3": Phi3Config(**_SIZES, **_WINDOWED, rope_parameters=_HALF),
    "phi3, long": Phi3Config(**_SIZES, rope_parameters=_LONG),
    "olmo2": Olmo2Config(**_SIZES),
    "olmo3": Olmo3Config(**_FOUR, **_WINDOWED),
    "smollm3": SmolLM3Config(**_FOUR),
    "granite": GraniteConfig(
        **_SIZES, attention_multiplier=0.3, embedding_multiplier=3.0, residual_multiplier=0.5,
        logits_scaling=4.0,
    ),
    "glm4": Glm4Config(**_SIZES, head_dim=16),
    "gpt_neox": GPTNeoXConfig(**_SIZES),
    "gpt_neox, in turn": GPTNeoXConfig(
        **_SIZES, use_parallel_residual=False, attention_bias=False, rope_parameters=_HALF
    ),
    "starcoder2": Starcoder2Config(**_SIZES, **_WINDOWED, tie_word_embeddings=False),
    "cohere": CohereConfig(**_SIZES, logit_scale=0.5),
    "cohere2": Cohere2Config(**_FOUR, **_WINDOWED, logit_scale=0.5),
    "phi": PhiConfig(**_SIZES),
    "stablelm": StableLmConfig(**_SIZES, use_qkv_bias=True),
    "stablelm, side by side": StableLmConfig(**_SIZES, use_parallel_residual=True),
    "falcon, 7B": FalconConfig(**_SIZES, bias=True),
    "falcon, 11B": FalconConfig(
        **_SIZES, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1
    ),
    "falcon, 40B": FalconConfig(**_SIZES, new_decoder_architecture=True, num_kv_heads=2),
    "nemotron": NemotronConfig(**_SIZES, head_dim=32, mlp_bias=True),
    "jais2": Jais2Config(**_SIZES),
    "olmo": OlmoConfig(**_SIZES),
    "arcee": ArceeConfig(**_SIZES, mlp_bias=True),
    "ernie4_5": Ernie4_5Config(**_SIZES, head_dim=32, use_bias=True),
    "helium": HeliumConfig(**_SIZES, head_dim=16),
    "glm": GlmConfig(**_SIZES, head_dim=16),
    "exaone": ExaoneConfig(**_SIZES),
    "exaone4": Exaone4Config(**_FOUR, **_WINDOWED),
    "exaone4, without windows": Exaone4Config(
        **_SIZES, sliding_window=None, layer_types=["full_attention"] * 2
    ),
    "seed_oss": SeedOssConfig(**_SIZES, head_dim=32),
    "ministral": MinistralConfig(
        **_SIZES, **_WINDOWED, head_dim=16, layer_types=["sliding_attention", "full_attention"]
    ),
    "cwm": CwmConfig(**_FOUR, **_WINDOWED, head_dim=32),
    "internlm3": InternLM3Config(**_SIZES, head_dim=16, attention_bias=True, mlp_bias=True),
    "iquestcoder": IQuestCoderConfig(**_SIZES, head_dim=32),
    "vaultgemma": VaultGemmaConfig(
        **_SIZES, **_WINDOWED, head_dim=16, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    ),
    "mixtral": MixtralConfig(**_SIZES, **_WINDOWED, num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": Qwen2MoeConfig(**_SIZES, **_EXPERTS, shared_expert_intermediate_size=64),
    "qwen3_moe": Qwen3MoeConfig(
        **_FOUR, **_EXPERTS, head_dim=16, decoder_sparse_step=2, norm_topk_prob=True
    ),
    "olmoe": OlmoeConfig(**_SIZES, num_experts=4, num_experts_per_tok=2),
    "gpt_oss": GptOssConfig(
        **_SIZES, **_WINDOWED, head_dim=16, num_local_experts=4, num_experts_per_tok=2
    ),
    "llama4_text": Llama4TextConfig(
        **_FOUR, intermediate_size_mlp=64, head_dim=16, num_local_experts=4,
        attention_chunk_size=WINDOW, floor_scale=6, interleave_moe_layer_step=2,
    ),
}  # fmt: skip
# What they compute others compute as well, under other names or in another order.
ALIKE = (
    "gpt_neox, in turn", "starcoder2", "cohere", "stablelm", "stablelm, side by side", "falcon, 7B",
    "falcon, 11B", "jais2", "arcee", "ernie4_5", "helium", "glm", "exaone", "exaone4, without windows",
    "seed_oss", "ministral", "cwm", "internlm3", "iquestcoder", "vaultgemma",
)  # fmt: skip
# Those whose forms are all different, which is where tests of more than logits look.
DISTINCT = [case for case in CONFIGS if case not in ALIKE]
LAYER_NORMED = ("gpt_neox", "cohere2", "phi", "falcon, 40B", "nemotron", "olmo")
# Their layers have experts, which the compiled kernels do not compute.
SPARSE = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "gpt_oss", "llama4_text")


def random_module(case: str, seed: int = 0) -> Any:
    """With weights large enough that its logits differ clearly between contexts."""
    return module_of(CONFIGS[case], seed)


def module_of(config: Any, seed: int = 0) -> Any:
    """The same of any configuration."""
    torch.manual_seed(seed)
    module: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return module.eval().requires_grad_(False)
