"""What a folder says of a Llama-shaped model: sizes, rotation, ends. Without importing transformers.

Its classes take seconds to import, and they would only repeat what config.json says, where that says
everything. Where it leaves something to the classes' defaults, they are asked.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.lean.weights import SUPPORTED, Rotation, Shape, rotation_of, shape_of

# Tokenizers and configurations without a limit say 10**30; nothing holds so many tokens.
MOST_CONTEXT = 1 << 20


class Outline(NamedTuple):
    """What the lean forward needs to know of a model beside its weights."""

    shape: Shape
    rotation: Rotation
    context_limit: int
    end_token_ids: frozenset[int]
    """Of the generation settings; the tokenizer may know another."""
    is_tied: bool
    """Whether the head is the embedding."""


def read_outline(folder: Path) -> Outline | None:
    """None for other architectures, and where config.json alone does not say everything."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["architectures"][0] not in SUPPORTED or config["hidden_act"] != "silu":
            return None
        head_dim = int(
            config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        )
        theta = _plain_theta(config)
        if theta is None:
            return None
        return Outline(
            shape=Shape(
                num_layers=int(config["num_hidden_layers"]),
                num_heads=int(config["num_attention_heads"]),
                num_kv_heads=int(config["num_key_value_heads"]),
                head_dim=head_dim,
                vocab_size=int(config["vocab_size"]),
                norm_eps=float(config["rms_norm_eps"]),
            ),
            rotation=Rotation(
                1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim)), 1.0
            ),
            context_limit=min(int(config["max_position_embeddings"]), MOST_CONTEXT),
            end_token_ids=_ends(folder, config),
            is_tied=bool(config["tie_word_embeddings"]),
        )
    except (
        OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError,
        RecursionError, RuntimeError,
    ):  # fmt: skip
        return None


def outline_of(module: Any) -> Outline:
    """The same of a transformers module that the lean forward can compute."""
    return Outline(
        shape_of(module),
        rotation_of(module),
        context_limit_of(module),
        generation_ends(module),
        bool(module.config.tie_word_embeddings),
    )


def context_limit_of(module: Any) -> int:
    """The most positions that a transformers module knows."""
    limit = getattr(module.config.get_text_config(), "max_position_embeddings", None)
    return min(int(limit or MOST_CONTEXT), MOST_CONTEXT)


def generation_ends(module: Any) -> frozenset[int]:
    """The ids that end an answer, by a transformers module's generation settings."""
    return _ids(module.generation_config.eos_token_id)


def _plain_theta(config: dict[str, Any]) -> float | None:
    """The base of an ordinary rotation; None for every other kind."""
    if config.get("rope_scaling") or config.get("partial_rotary_factor", 1.0) != 1.0:
        return None
    rope = config.get("rope_parameters")
    if rope is None:
        return float(config["rope_theta"])
    if not set(rope) <= {"rope_theta", "rope_type"} or rope.get("rope_type") != "default":
        return None
    return float(rope["rope_theta"])


def _ends(folder: Path, config: dict[str, Any]) -> frozenset[int]:
    settings = folder / "generation_config.json"
    if settings.exists():
        config = json.loads(settings.read_text(encoding="utf-8"))
    return _ids(config.get("eos_token_id"))


def _ids(found: Any) -> frozenset[int]:
    ids = found if isinstance(found, list) else [found]
    return frozenset(int(token_id) for token_id in ids if token_id is not None)
