"""Whether the weights in a folder can be what its configuration says.

A module is built from the configuration before any weight is read, so that one of a billion layers
would keep the program busy for ever.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from core.models.outline import Outline

_WIDTHS = (
    "vocab_size", "hidden_size", "intermediate_size", "head_dim", "num_attention_heads",
    "num_key_value_heads",
)  # fmt: skip


def check_folder(folder: Path) -> None:
    """Raises ValueError with a reason where the sizes of configuration and weights disagree, and
    what safetensors raises for a broken file."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("config.json is no object")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError("there are no safetensors files")
    num_tensors = sum(_num_tensors(path) for path in files)
    num_bytes = sum(path.stat().st_size for path in files)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            _check_sizes(part, num_tensors, num_bytes)


def _num_tensors(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return len(file.keys())


def _check_sizes(config: dict[str, Any], num_tensors: int, num_bytes: int) -> None:
    for name, most in (("num_hidden_layers", num_tensors), *((w, num_bytes) for w in _WIDTHS)):
        value = config.get(name)
        if value is not None and not (isinstance(value, int) and 0 < value <= most):
            raise ValueError(
                f"config.json says that {name} is {str(value)[:40]}, which the {num_tensors} tensors "
                f"of {num_bytes} bytes beside it cannot be"
            )


def have_shapes(tensors: Mapping[str, torch.Tensor], outline: Outline) -> bool:
    """Whether the tensors of a Llama-shaped model have the sizes of its outline.

    Kernels read as many bytes as the outline says, so that smaller weights must never reach them.
    """
    if "model.norm.weight" not in tensors:
        return False
    hidden = len(tensors["model.norm.weight"])
    shape = outline.shape
    num_queries, num_keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    wanted = {
        "embed_tokens.weight": (shape.vocab_size, hidden),
        "lm_head.weight": (shape.vocab_size, hidden),
        "norm.weight": (hidden,),
        "q_proj.weight": (num_queries, hidden),
        "k_proj.weight": (num_keys, hidden),
        "v_proj.weight": (num_keys, hidden),
        "o_proj.weight": (hidden, num_queries),
        "q_proj.bias": (num_queries,),
        "k_proj.bias": (num_keys,),
        "v_proj.bias": (num_keys,),
        "o_proj.bias": (hidden,),
        "q_norm.weight": (shape.head_dim,),
        "k_norm.weight": (shape.head_dim,),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    for name in tensors:
        tensor, sizes = tensors[name], wanted.get(".".join(name.split(".")[-2:]))
        if not tensor.is_floating_point() or (sizes is not None and tensor.shape != sizes):
            return False
    return all(_has_mlp_shapes(tensors, index, hidden) for index in range(shape.num_layers))


def _has_mlp_shapes(tensors: Mapping[str, torch.Tensor], index: int, hidden: int) -> bool:
    """The width inside is no part of the outline; the three must agree on it."""
    parts = [
        tensors.get(f"model.layers.{index}.mlp.{name}_proj.weight")
        for name in ("gate", "up", "down")
    ]
    if any(part is None or part.dim() != 2 for part in parts):
        return False
    gate, up, down = (part for part in parts if part is not None)
    return gate.shape[1] == hidden and up.shape == gate.shape and down.shape == gate.shape[::-1]
