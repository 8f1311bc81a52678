"""Linear layers of the lean forward: one small interface, one class a weight format."""

from typing import Protocol

import torch
import torch.nn.functional as F


class Linear(Protocol):
    """A weight that multiplies rows."""

    kernel: str
    """What computes it, for the trace."""

    @property
    def num_bytes(self) -> int:
        """Memory of its weights."""
        ...

    def __call__(
        self,
        x: torch.Tensor,  # [rows, in_features]
    ) -> torch.Tensor:
        """Returns  # [rows, out_features]."""
        ...


class DenseLinear:
    """Weights in the dtype of the rows."""

    kernel = "dense"

    def __init__(
        self,
        weight: torch.Tensor,  # [out_features, in_features]
        bias: torch.Tensor | None = None,  # [out_features]
    ):
        self.weight = weight
        self.bias = bias

    @property
    def num_bytes(self) -> int:
        return self.weight.nbytes + (self.bias.nbytes if self.bias is not None else 0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)
