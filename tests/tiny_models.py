"""Small random models of each supported family, for tests of forwards and caches."""

from typing import Any

import torch
from transformers import (
    CodeGenConfig,
    CodeGenForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

_SIZES: dict[str, Any] = {
    "vocab_size": 192,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}

FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZES, tie_word_embeddings=True)),
    "llama3-rope": lambda: LlamaForCausalLM(
        LlamaConfig(
            **_SIZES,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 10_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        )
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SIZES, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZES, head_dim=32)),
    # Layer norms, and a feed-forward beside attention and without a gate.
    "gpt-neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(
            **{key: value for key, value in _SIZES.items() if key != "num_key_value_heads"}
        )
    ),
    # No family of ours: transformers' module computes it.
    "codegen": lambda: CodeGenForCausalLM(
        CodeGenConfig(
            vocab_size=192,
            n_embd=64,
            n_inner=96,
            n_layer=3,
            n_head=4,
            n_positions=512,
            rotary_dim=8,
            bos_token_id=1,
            eos_token_id=2,
        )
    ),
}


def tiny_model(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A model with weights large enough that its logits differ clearly between contexts."""
    torch.manual_seed(seed)
    module = FAMILIES[family]()
    for parameter in module.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.15)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return module.to(dtype).eval().requires_grad_(False)
