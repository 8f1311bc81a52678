"""GGUF files of tiny models, written as llama.cpp's converter writes them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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

# Their norms are written with one added.
_ONE_ADDED = ("gemma3",)


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
    architecture = architecture or {"mistral": "llama"}.get(config.model_type, config.model_type)
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
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "attention.key_length": getattr(config, "head_dim", None),
        "attention.value_length": getattr(config, "head_dim", None),
        "general.type": "model",
        "general.name": "tiny",
    }
    if config.model_type == "llama":
        values |= {"vocab_size": config.vocab_size, "rope.dimension_count": config.head_dim}
    if config.model_type.startswith("gemma3"):
        values |= {"attention.sliding_window": config.sliding_window}
    return values


def rotation_of(config: Any) -> dict[str, Any]:
    """The rotation's keys; Llama 3.1's scaling is a tensor."""
    settings = config.rope_parameters
    settings = settings.get("full_attention", settings)
    values = {"rope.freq_base": float(settings["rope_theta"])}
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
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    found = {}
    for name, part in module.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weight = part.float().numpy()
        stem, suffix = name.rsplit(".", 1)
        layer = stem.rsplit(".", 1)[-1]
        if architecture == "llama" and layer in heads:
            weight = permuted(weight, heads[layer])
        if architecture in _ONE_ADDED and name.endswith("norm.weight"):
            weight = weight + 1
        found[f"{names.get_name(stem)}.{suffix}"] = np.ascontiguousarray(weight)
    if config.model_type == "llama" and config.rope_parameters["rope_type"] == "llama3":
        found["rope_freqs.weight"] = divisors_of(config)
    return found


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
