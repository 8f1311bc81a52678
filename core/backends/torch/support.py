"""Which models our own forward computes, by what their configurations say.

An allow-list: a setting that is neither honoured nor known to change nothing sends the model to
transformers' own module, for it may well change the text.
"""

from collections.abc import Mapping
from types import NoneType
from typing import Any, NamedTuple

# Model types whose layers are: norm, attention with rotary positions, norm, gated SiLU feed-forward.
SUPPORTED = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
# Rotations that depend on the position alone, not on the length of the whole text, and what of their
# settings is honoured.
_ROTATIONS = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    ),
    "yarn": (
        "factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
        "original_max_position_embeddings",
    ),
    "longrope": (
        "factor", "attention_factor", "short_factor", "long_factor",
        "original_max_position_embeddings",
    ),
}  # fmt: skip
_COUNTS = (
    "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads",
    "num_hidden_layers", "num_key_value_heads", "vocab_size",
)  # fmt: skip
_SWITCHES = ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window")
_NUMBER = (int, float)
# Values of other types mean nothing here, and transformers refuses most; True is no 1.
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_COUNTS, (int,)),
    **dict.fromkeys(_SWITCHES, (bool,)),
    "head_dim": (int, NoneType),
    "rms_norm_eps": (float,),
    "rope_theta": (*_NUMBER, NoneType),
    "partial_rotary_factor": (*_NUMBER, NoneType),
    "rope_parameters": (dict, NoneType),
    "rope_scaling": (dict, NoneType),
    "layer_types": (list, NoneType),
    "sliding_window": (int, NoneType),
    "eos_token_id": (int, list, NoneType),
}
_HONOURED = {"model_type", "hidden_act"} | set(_TYPES) - {"attention_bias", "mlp_bias"}
_HONOURED_IN = {"llama": {"attention_bias", "mlp_bias"}, "qwen3": {"attention_bias"}}
# They say where a model comes from, how it is trained or sampled, or how others store it.
WITHOUT_EFFECT = {
    "_attn_implementation_autoset", "_model_name_or_path", "_name_or_path", "architectures",
    "attention_dropout", "bos_token_id", "chunk_size_feed_forward", "do_sample", "dtype", "id2label",
    "initializer_range", "is_llama_config", "label2id", "max_length", "max_sequence_length",
    "max_window_layers", "model_max_length", "neftune_noise_alpha", "output_attentions",
    "output_hidden_states", "pad_token_id", "pretraining_tp", "repetition_penalty", "return_dict",
    "temperature", "tokenizer_class", "top_k", "top_p", "torch_dtype", "transformers.js_config",
    "transformers_version", "transformers_weights", "unk_token_id", "unsloth_fixed",
    "unsloth_version", "use_cache",
}  # fmt: skip


class Extras(NamedTuple):
    """What some supported models have beside the weights of all."""

    biases: frozenset[str]
    """Of q, k, v, o, gate, up and down."""
    has_head_norms: bool
    """Whether queries and keys of a head are normed."""


def unsupported_reason(config: Mapping[str, Any]) -> str | None:
    """Why our own forward cannot compute what a config.json says; None where it can."""
    kind = config.get("model_type")
    if kind not in SUPPORTED:
        return f"{kind} is not one of {', '.join(SUPPORTED)}"
    if config.get("hidden_act", "silu") != "silu":
        return f"its activation is {config['hidden_act']}, not silu"
    for key, types in _TYPES.items():
        if key in config and type(config[key]) not in types:
            return f"its {key} is of the type {type(config[key]).__name__}"
    return _rotation_reason(config) or _window_reason(config) or _unknown_reason(config)


def extras_of(config: Mapping[str, Any]) -> Extras:
    """The biases and norms of a supported model."""
    kind = config["model_type"]
    honoured = _HONOURED_IN.get(kind, set())
    biases = {"q", "k", "v"} if kind == "qwen2" else set()
    if "attention_bias" in honoured and config.get("attention_bias"):
        biases |= {"q", "k", "v", "o"}
    if "mlp_bias" in honoured and config.get("mlp_bias"):
        biases |= {"gate", "up", "down"}
    return Extras(frozenset(biases), kind == "qwen3")


def rotation_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotation's settings wherever a configuration has them, old files outside `rope_parameters`."""
    told = config.get("rope_scaling") or config.get("rope_parameters") or {}
    given = {key: value for key, value in told.items() if value is not None}
    old_name = given.pop("type", "default")
    defaults = {"rope_type": old_name, "rope_theta": config.get("rope_theta")}
    if config.get("partial_rotary_factor") is not None:
        defaults["partial_rotary_factor"] = config["partial_rotary_factor"]
    return defaults | given


def _rotation_reason(config: Mapping[str, Any]) -> str | None:
    settings = rotation_settings(config)
    kind = settings.pop("rope_type")
    if settings.pop("partial_rotary_factor", 1.0) != 1.0:
        return "it rotates only a part of each head"
    if kind not in _ROTATIONS or settings.get("short_factor") != settings.get("long_factor"):
        return f"its rotary positions are of the type {kind}"
    unknown = set(settings) - {"rope_theta", *_ROTATIONS[kind]}
    if unknown:
        return f"its rotary positions have the setting {min(unknown)}"
    return None


def _window_reason(config: Mapping[str, Any]) -> str | None:
    kinds = config.get("layer_types")
    others = set(kinds or ()) - {"full_attention"}
    if others:
        return f"some of its layers are of the kind {min(others)}"
    if kinds is not None and len(kinds) != config["num_hidden_layers"]:
        return f"it tells the kinds of {len(kinds)} layers"
    window = config.get("sliding_window")
    if config["model_type"] in ("qwen2", "qwen3") and not config.get("use_sliding_window"):
        window = None
    if window is None or window >= config["max_position_embeddings"]:
        return None
    return f"its layers see a window of {window} tokens"


def _unknown_reason(config: Mapping[str, Any]) -> str | None:
    known = _HONOURED | WITHOUT_EFFECT | _HONOURED_IN.get(config["model_type"], set())
    for key, value in config.items():
        is_empty = value is False or value in ("", [], {})
        # transformers refuses an empty one.
        is_off = value is None or (is_empty and key != "quantization_config")
        if key not in known and not is_off:
            return f"its configuration sets {key}, which our own forward does not know"
    return None
