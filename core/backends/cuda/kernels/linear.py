"""Linear layers in kernels of our own for CUDA: packed whole numbers, and views of dense weights."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from core.backends.cuda.kernels.kernel import multiply_rows, reason_against, rows_at_once
from core.backends.cuda.kernels.packing import packed
from core.backends.cuda.kernels.variant import DENSE_BITS, Weight
from core.backends.torch.linear import DenseLinear, WeightGrid
from core.errors import KernelsUnavailableError

_GROUP_SIZES = (32, 64, 128)
# Of outputs, and of the numbers that are copied at once.
_DENSE_TILE, _DENSE_COPY = 16, 8


@torch.library.custom_op("specdecodes::multiply_rows", mutates_args=())
def _multiply_rows(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    data: torch.Tensor,
    bits: int,
    group_size: int,
    num_outputs: int,
) -> torch.Tensor:
    return multiply_rows(x, Weight(data, bits, group_size, x.shape[1], num_outputs, bias))


@_multiply_rows.register_fake
def _(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    data: torch.Tensor,
    bits: int,
    group_size: int,
    num_outputs: int,
) -> torch.Tensor:
    return x.new_empty((x.shape[0], num_outputs))


@cache
def _product(bits: int, group_size: int, num_outputs: int) -> Callable[..., torch.Tensor]:
    """One function for all layers of a format and size, which a compiled graph may hold."""

    def product(x: torch.Tensor, bias: torch.Tensor | None, data: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _multiply_rows(x, bias, data, bits, group_size, num_outputs)
        return found

    return product


class PackedLinear:
    """Implements `core.backends.torch.linear.TensorLinear`."""

    def __init__(self, grid: WeightGrid, bias: torch.Tensor | None, dtype: torch.dtype):
        """For rows of `dtype`. Raises KernelsUnavailableError where the kernels cannot compute it."""
        device = grid.values.device
        reason = reason_against(device)
        if reason is None and grid.group_size not in _GROUP_SIZES:
            reason = f"the kernels need groups of 32, 64 or 128, and these have {grid.group_size}"
        if reason is not None:
            raise KernelsUnavailableError(f"{reason}; the weights are written out again.")
        out_features, in_features = grid.values.shape
        self.weight = Weight(
            packed(grid), grid.bits, grid.group_size, in_features, out_features, bias
        )
        if not rows_at_once(self.weight, dtype):
            raise KernelsUnavailableError(
                f"rows of {in_features} numbers have no room in the GPU's shared memory; the weights "
                "are written out again."
            )
        # A kernel reads weights before it waits for what ran before it.
        torch.cuda.synchronize(device)
        self.kernel = f"cuda int{grid.bits}"
        self.out_features, self.in_features = out_features, in_features
        self.product = _product(grid.bits, grid.group_size, out_features)
        self.tensors: tuple[torch.Tensor | None, ...] = (bias, self.weight.data)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors if tensor is not None)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(x, *self.tensors)


def weight_of(linear: Any) -> Weight | None:
    """The weight of a layer that the kernel can multiply rows by and that stays where it is; None for
    others."""
    if isinstance(linear, PackedLinear):
        return linear.weight
    if not isinstance(linear, DenseLinear) or not linear.is_static:
        return None
    data = linear.weight
    if data.dtype not in (torch.bfloat16, torch.float16):
        return None
    out_features, in_features = data.shape
    fits = out_features % _DENSE_TILE == 0 and in_features % _DENSE_COPY == 0
    if not fits or not data.is_contiguous() or reason_against(data.device) is not None:
        return None
    return Weight(data, DENSE_BITS, 128, in_features, out_features, linear.bias)
