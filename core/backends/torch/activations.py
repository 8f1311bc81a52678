"""How a gate scales what stands beside it."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

Gate = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_ALPHA, _LIMIT = 1.702, 7.0


def _gated(activation: Callable[[torch.Tensor], torch.Tensor]) -> Gate:
    return lambda gate, up: activation(gate).mul_(up)


def _clamped(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """The gate of gpt-oss."""
    gate, up = gate.clamp(max=_LIMIT), up.clamp(-_LIMIT, _LIMIT)
    return (up + 1.0) * gate * torch.sigmoid(gate * _ALPHA)


GATES: dict[str, Gate] = {
    "silu": _gated(F.silu),
    "gelu": _gated(F.gelu),
    "gelu_tanh": _gated(partial(F.gelu, approximate="tanh")),
    "relu": _gated(F.relu),
    "clamped": _clamped,
}
"""Of (gate, up), both [rows, inner_size]."""
