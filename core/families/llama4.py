"""Llama 4, text alone: chunks, layers without positions, one expert a row beside a shared one."""

from collections.abc import Mapping
from typing import Any

from core.families.family import (
    ATTENTION_BIASES,
    GGUF_EXPERT_COUNT,
    GGUF_EXPERT_SIZE,
    GGUF_EXPERTS_USED,
    ExpertsOf,
    Family,
    Gguf,
    GgufKey,
    Key,
    Stacked,
)

_CHUNK, _FLOOR = 8192, 8192


def _rotated(found: Mapping[str, Any]) -> list[int]:
    """Every fourth layer has no positions, and sees all."""
    return [int((index + 1) % 4 != 0) for index in range(found["num_hidden_layers"])]


def _types(found: Mapping[str, Any]) -> list[str]:
    return ["chunked_attention" if one else "full_attention" for one in _rotated(found)]


def _sparse(found: Mapping[str, Any]) -> list[int]:
    step = found["interleave_moe_layer_step"]
    return list(range(step - 1, found["num_hidden_layers"], step))


FAMILY = Family(
    model_type="llama4_text",
    class_name="Llama4ForCausalLM",
    # llama.cpp knows the model without norms by its number of experts.
    gguf=Gguf(
        "llama4",
        settings={
            "intermediate_size_mlp": GgufKey("feed_forward_length"),
            "intermediate_size": GGUF_EXPERT_SIZE,
            "num_local_experts": GGUF_EXPERT_COUNT,
            **GGUF_EXPERTS_USED,
            "interleave_moe_layer_step": GgufKey("interleave_moe_layer_step"),
            "moe_layers": _sparse,
            "no_rope_layers": _rotated,
            "layer_types": _types,
            "attention_chunk_size": _CHUNK,
            "use_qk_norm": lambda found: found["num_local_experts"] != 128,
            "attn_temperature_tuning": True,
            "attn_scale": 0.1,
            "floor_scale": _FLOOR,
        },
        has_divisors=True,
        expects={"attention.sliding_window": (_CHUNK,)},
    ),
    biases=ATTENTION_BIASES,
    has_layer_types=True,
    chunk="attention_chunk_size",
    unrotated="no_rope_layers",
    is_interleaved=True,
    norms_rotated=Key("use_qk_norm"),
    temperature=("attn_temperature_tuning", "attn_scale", "floor_scale"),
    experts=ExpertsOf(
        num_experts="num_local_experts",
        inner_size="intermediate_size",
        tensors={
            "router": "feed_forward.router",
            "gate_up": "feed_forward.experts.gate_up_proj",
            "down": "feed_forward.experts.down_proj",
        },
        stacked=Stacked(is_interleaved=False),
        shared={
            "gate": "feed_forward.shared_expert.gate_proj",
            "up": "feed_forward.shared_expert.up_proj",
            "down": "feed_forward.shared_expert.down_proj",
        },
        shared_size="intermediate_size",
        dense={
            "gate": "feed_forward.gate_proj",
            "up": "feed_forward.up_proj",
            "down": "feed_forward.down_proj",
        },
        dense_size="intermediate_size_mlp",
        sparse_layers="moe_layers",
        is_sigmoid=True,
    ),
    without_effect=frozenset({"no_rope_layer_interval", "interleave_moe_layer_step"}),
)
