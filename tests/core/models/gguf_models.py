"""GGUF files of tiny models, written as llama.cpp's converter writes them."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import (
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    get_tensor_name_map,
    quantize,
)
from tokenizers import pre_tokenizers

from tests.core.loading.test_gguf_weights import permuted

# What llama.cpp calls the types of models, where it is not the same.
_ARCHITECTURES = {
    "mistral": "llama", "mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe",
    "gemma3_text": "gemma3", "olmo3": "olmo2", "gpt_oss": "gpt-oss", "llama4_text": "llama4",
    "gpt_neox": "gptneox", "phi": "phi2", "cohere": "command-r",
}  # fmt: skip
# Their norms are written with one added.
_ONE_ADDED = ("gemma", "gemma2", "gemma3", "nemotron")
# Pairs of numbers that rotate together are written side by side.
_PERMUTED = ("llama", "granite", "smollm3", "olmo", "arcee")
_WINDOWED = ("gemma2", "gemma3_text", "olmo3", "gpt_oss", "phi3", "cohere2", "exaone4")
_LAYER_EPS = ("norm_epsilon", "layer_norm_eps", "layer_norm_epsilon", "norm_eps")


def write_model(
    path: Path,
    module: Any,
    changed: Mapping[str, Any] | None = None,
    *,
    architecture: str | None = None,
    type_name: str = "F32",
    num_in_a_shard: int = 0,
) -> str:
    """A transformers module as a GGUF file; `changed` sets values, or leaves out those that are None.

    Keys begin behind the architecture's name, except those with a known other beginning.
    """
    config = module.config
    architecture = architecture or _ARCHITECTURES.get(config.model_type, config.model_type)
    writer = GGUFWriter(path, architecture, split_max_tensors=num_in_a_shard)
    values = {**metadata_of(config), **rotation_of(config), **vocabulary_of(config.vocab_size)}
    for key, value in {**values, **(changed or {})}.items():
        is_whole = key.startswith(("general.", "tokenizer.", "split."))
        if value is not None:
            _add(writer, key if is_whole else f"{architecture}.{key}", value)
    for name, weight in tensors_of(module, architecture).items():
        is_wide = weight.ndim > 1 and weight.shape[-1] % 32 == 0
        kind = GGMLQuantizationType[type_name if is_wide else "F32"]
        writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def metadata_of(config: Any) -> dict[str, Any]:
    values = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None),
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None),
        "attention.layer_norm_epsilon": next(
            (getattr(config, name) for name in _LAYER_EPS if hasattr(config, name)), None
        ),
        "attention.key_length": getattr(config, "head_dim", None),
        "attention.value_length": getattr(config, "head_dim", None),
        "general.type": "model",
        "general.name": "tiny",
    }
    values |= _of_family(config)
    return {key: value for key, value in values.items() if value is not None}


def _of_family(config: Any) -> dict[str, Any]:
    """What the converter writes beside what all have."""
    match config.model_type:
        case "llama" | "mixtral" | "smollm3" | "granite":
            values = {"vocab_size": config.vocab_size, "rope.dimension_count": _head_dim(config)}
        case "gemma2":
            values = {
                "attn_logit_softcapping": config.attn_logit_softcapping,
                "final_logit_softcapping": config.final_logit_softcapping,
            }
        case "olmo3":
            windows = [kind == "sliding_attention" for kind in config.layer_types]
            values = {"attention.sliding_window_pattern": windows}
        case "qwen2_moe" | "qwen3_moe":
            shared = getattr(config, "shared_expert_intermediate_size", None)
            values = {
                "expert_feed_forward_length": config.moe_intermediate_size,
                "expert_shared_feed_forward_length": shared,
            }
        case "gpt_oss":
            values = {"expert_feed_forward_length": config.intermediate_size}
        case "llama4_text":
            values = {
                "feed_forward_length": config.intermediate_size_mlp,
                "expert_feed_forward_length": config.intermediate_size,
                "interleave_moe_layer_step": config.interleave_moe_layer_step,
            }
        case "phi3" | "glm4" | "gpt_neox" | "phi" | "stablelm" | "nemotron":
            share = config.rope_parameters.get("partial_rotary_factor", 1.0)
            values = {"rope.dimension_count": int(_head_dim(config) * share)}
        case _:
            values = {}
    if config.model_type == "granite":
        values |= {
            "attention.scale": config.attention_multiplier,
            "embedding_scale": config.embedding_multiplier,
            "residual_scale": config.residual_multiplier,
            "logit_scale": config.logits_scaling,
        }
    if config.model_type in _WINDOWED:
        values |= {"attention.sliding_window": config.sliding_window or 0}
    values |= _of_later_family(config)
    for key, name in (
        ("expert_count", "num_local_experts"),
        ("expert_count", "num_experts"),
        ("expert_used_count", "num_experts_per_tok"),
    ):
        if getattr(config, name, None) is not None:
            values[key] = getattr(config, name)
    return values


def _of_later_family(config: Any) -> dict[str, Any]:
    match config.model_type:
        case "cohere" | "cohere2":
            return {"logit_scale": config.logit_scale, "rope.scaling.type": "none"}
        case "gpt_neox" | "stablelm":
            return {"use_parallel_residual": config.use_parallel_residual}
        case "olmo":
            return {"attention.layer_norm_epsilon": 1e-5}
        case "exaone4" if config.sliding_window:
            windows = [kind == "sliding_attention" for kind in config.layer_types]
            return {"attention.sliding_window_pattern": windows}
    return {}


def _head_dim(config: Any) -> int:
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


def rotation_of(config: Any) -> dict[str, Any]:
    """The rotation's keys; Llama 3.1's scaling is a tensor."""
    parameters = config.rope_parameters
    settings = parameters.get("full_attention", parameters)
    values = {"rope.freq_base": float(settings["rope_theta"])}
    if "sliding_attention" in parameters:
        values["rope.freq_base_swa"] = float(parameters["sliding_attention"]["rope_theta"])
    if settings["rope_type"] == "longrope":
        length = settings["original_max_position_embeddings"]
        scale = config.max_position_embeddings / length
        values |= {
            "rope.scaling.original_context_length": length,
            "rope.scaling.attn_factor": math.sqrt(1 + math.log(scale) / math.log(length)),
        }
    if settings["rope_type"] in ("linear", "yarn"):
        values |= {
            "rope.scaling.type": settings["rope_type"],
            "rope.scaling.factor": float(settings["factor"]),
        }
    if settings["rope_type"] == "yarn":
        values["rope.scaling.original_context_length"] = settings[
            "original_max_position_embeddings"
        ]
        for key, name in (
            ("yarn_attn_factor", "attention_factor"),
            ("yarn_beta_fast", "beta_fast"),
            ("yarn_beta_slow", "beta_slow"),
        ):
            values[f"rope.scaling.{key}"] = settings.get(name)
    return values


def vocabulary_of(num_tokens: int) -> dict[str, Any]:
    """The tokens of `byte_tokenizer` with their ids, and others up to the number; one merge."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet())[:180], "<end>", "!!"]
    tokens += [f"<{number}>" for number in range(len(tokens), num_tokens)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [
            3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens
        ],
        "tokenizer.ggml.merges": ["! !"],
        "tokenizer.ggml.eos_token_id": 180,
        "tokenizer.ggml.add_bos_token": False,
    }


def tensors_of(module: Any, architecture: str) -> dict[str, np.ndarray[Any, Any]]:
    """The weights by llama.cpp's names, in its order of rows."""
    config = module.config
    kind = {name: number for number, name in MODEL_ARCH_NAMES.items()}[architecture]
    names = get_tensor_name_map(MODEL_ARCH(kind), config.num_hidden_layers)
    num_heads = config.num_attention_heads
    heads = {"q_proj": num_heads, "k_proj": getattr(config, "num_key_value_heads", num_heads)}
    found = {}
    for name, part in _plain_weights(module):
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weight = part.float().numpy()
        stem, suffix = name.rsplit(".", 1)
        layer = stem.rsplit(".", 1)[-1]
        if architecture in _PERMUTED and layer in heads:
            weight = permuted(weight, heads[layer])
        if architecture in _ONE_ADDED and name.endswith("norm.weight"):
            weight = weight + 1
        if architecture == "gptneox" and layer == "query_key_value":  # head by head
            split = weight.reshape(num_heads, 3, -1, *weight.shape[1:])
            weight = np.concatenate(
                [split[:, part].reshape(-1, *weight.shape[1:]) for part in range(3)]
            )
        if layer == "shared_expert_gate":
            weight = weight[0]
        found[f"{names.get_name(stem)}.{suffix}"] = np.ascontiguousarray(weight)
    settings = config.rope_parameters
    if settings.get("rope_type") == "llama3":
        found["rope_freqs.weight"] = divisors_of(config)
    if settings.get("rope_type") == "longrope":
        for length in ("long", "short"):
            factors = np.array(settings[f"{length}_factor"], dtype=np.float32)
            found[f"rope_factors_{length}.weight"] = factors
    return found


def _plain_weights(module: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights and biases of linear layers; those of experts one tensor, gate and up apart."""
    model_type = module.config.model_type
    # Some have outputs behind inputs, and some of these the outputs of gate and up by turns.
    is_turned = model_type in ("gpt_oss", "llama4_text")
    for name, part in module.state_dict().items():
        if ".experts." not in name:
            yield (f"{name}.weight" if name.endswith("sinks") else name), part
            continue
        stem, is_bias = name.removesuffix("_bias"), name.endswith("_bias")
        suffix = "bias" if is_bias else "weight"
        rows = part.transpose(1, 2) if is_turned and not is_bias else part
        if not stem.endswith("gate_up_proj"):
            yield f"{stem}.{suffix}", rows
            continue
        halves = (rows[:, ::2], rows[:, 1::2]) if model_type == "gpt_oss" else rows.chunk(2, dim=1)
        for piece, half in zip(("gate_proj", "up_proj"), halves, strict=True):
            yield f"{stem.removesuffix('gate_up_proj')}{piece}.{suffix}", half


def divisors_of(config: Any) -> np.ndarray[Any, Any]:
    """What divides each frequency of Llama 3.1 (llama.cpp, conversion/llama.py)."""
    settings = config.rope_parameters
    base, length = settings["rope_theta"], settings["original_max_position_embeddings"]
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    divisors = []
    for index in range(0, config.head_dim, 2):
        wave_length = 2 * math.pi * base ** (index / config.head_dim)
        smooth = (length / wave_length - low) / (high - low)
        smooth = min(1.0, max(0.0, smooth))
        divisors.append(1 / ((1 - smooth) / settings["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)
