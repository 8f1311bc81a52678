"""Tensors of GGUF files, and their numbers as transformers has them."""

from typing import Any, NamedTuple

import numpy as np
import torch

_PLAIN = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}


class GgufTensor(NamedTuple):
    """A tensor in the file's memory map."""

    type_name: str
    """Q4_1, F32, ..."""
    shape: tuple[int, ...]
    """Of the numbers that it means, rows first."""
    data: np.ndarray[Any, Any]
    """Rows of numbers, or of the bytes of their blocks."""


def numbers_of(tensor: GgufTensor) -> torch.Tensor:
    """What the tensor means: plain numbers as they are, blocks in bfloat16.

    Raises ValueError for a type that nobody can read.
    """
    if tensor.type_name in _PLAIN:
        return torch.tensor(tensor.data)
    return dequantized(tensor).to(torch.bfloat16)


def dequantized(tensor: GgufTensor) -> torch.Tensor:
    """The same in float32."""
    from gguf import GGMLQuantizationType, dequantize

    try:
        values = dequantize(tensor.data, GGMLQuantizationType[tensor.type_name])
    except NotImplementedError:
        raise ValueError(f"it has tensors of the type {tensor.type_name}") from None
    return torch.tensor(values, dtype=torch.float32)


def unpermuted(
    rows: torch.Tensor,  # [out_features, ...]
    num_heads: int,
) -> torch.Tensor:
    """Rows of heads as transformers has them: halves of a head one after the other.

    Files of some architectures have pairs that rotate together side by side.
    """
    halves = rows.view(num_heads, -1, 2, *rows.shape[1:])
    return halves.transpose(1, 2).reshape(rows.shape)
