"""Linear layers of our own forward: one small interface, one class a weight format."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F


class Linear(Protocol):
    """A weight that multiplies rows."""

    kernel: str
    """What computes it, for the trace."""

    @property
    def out_features(self) -> int: ...
    @property
    def in_features(self) -> int: ...

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


class Embedding(Protocol):
    """A table of vocabulary rows; the very object of the head where the model ties them."""

    @property
    def out_features(self) -> int:
        """Its rows: token ids below it can be looked up."""
        ...

    @property
    def in_features(self) -> int:
        """Numbers of a row."""
        ...

    @property
    def num_bytes(self) -> int:
        """Memory of the table."""
        ...

    def rows(
        self,
        indices: torch.Tensor,  # [rows]
    ) -> torch.Tensor:
        """Returns  # [rows, hidden]."""
        ...


class WeightGrid(NamedTuple):
    """A weight as whole numbers: weight = values * scales + offsets, group by group."""

    values: torch.Tensor  # [out_features, in_features] uint8, below 2 ** bits
    scales: torch.Tensor  # [out_features, num_groups] float32
    offsets: torch.Tensor  # [out_features, num_groups] float32
    bits: int

    @property
    def group_size(self) -> int:
        return self.values.shape[1] // self.scales.shape[1]

    def dequantize(self) -> torch.Tensor:
        """The weight that the grid stands for  # [out_features, in_features] float32."""
        groups = self.values.view(*self.scales.shape, -1).float()
        weight = groups * self.scales[:, :, None] + self.offsets[:, :, None]
        return weight.view(self.values.shape)


class TensorLinear(Linear, Protocol):
    """A linear layer as a function of tensors, which torch.compile takes for all layers alike."""

    @property
    def product(self) -> Callable[..., torch.Tensor]:
        """Multiplies rows by `tensors`; the very same object for layers of one format."""
        ...

    @property
    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        """What `product` takes after the rows."""
        ...


def dense_product(
    x: torch.Tensor,  # [rows, in_features]
    weight: torch.Tensor,  # [out_features, in_features]
    bias: torch.Tensor | None,  # [out_features]
) -> torch.Tensor:
    """Rows times a weight in their own dtype  # [rows, out_features]."""
    return F.linear(x, weight, bias)


class DenseLinear:
    """Weights in the dtype of the rows."""

    kernel = "dense"
    is_static = True
    """Whether the weight stays where it is."""
    product = staticmethod(dense_product)

    def __init__(
        self,
        weight: torch.Tensor,  # [out_features, in_features]
        bias: torch.Tensor | None = None,  # [out_features]
    ):
        self.weight = weight
        self.bias = bias

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def num_bytes(self) -> int:
        return self.weight.nbytes + (self.bias.nbytes if self.bias is not None else 0)

    @property
    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        return self.weight, self.bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return dense_product(x, self.weight, self.bias)

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """See `Embedding.rows`."""
        return F.embedding(indices, self.weight)
