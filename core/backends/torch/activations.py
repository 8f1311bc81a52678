"""What stands between the two products of a feed-forward."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

Inner = Callable[[torch.Tensor], torch.Tensor]
_ALPHA, _LIMIT = 1.702, 7.0


def _squared_relu(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()


ACTIVATIONS: dict[str, Inner] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu2": _squared_relu,
}
"""Of numbers one by one; `clamped` beside them is a gate's alone."""


def inner_of(activation: str, is_gated: bool) -> Inner:
    """From what the first product makes to what the second one reads: [rows, 2 * inner_size] of gate and
    up beside each other, or [rows, inner_size] without a gate, to [rows, inner_size]."""
    if activation == "clamped":
        return _clamped
    one_by_one = ACTIVATIONS[activation]
    return partial(_gated, one_by_one) if is_gated else one_by_one


def _gated(activation: Inner, product: torch.Tensor) -> torch.Tensor:
    gate, up = product.chunk(2, dim=-1)
    return activation(gate).mul_(up)


def _clamped(product: torch.Tensor) -> torch.Tensor:
    """The gate of gpt-oss."""
    gate, up = product.chunk(2, dim=-1)
    gate, up = gate.clamp(max=_LIMIT), up.clamp(-_LIMIT, _LIMIT)
    return (up + 1.0) * gate * torch.sigmoid(gate * _ALPHA)
