"""Linear layers over an hqq grid, for the lean forward."""

import torch

from core.lean.linear import DenseLinear, Linear
from core.quant.grid import Grid

# torch's int4 kernel for the CPU counts its whole numbers from here.
_INT4_ORIGIN = 8
_INT4_GROUP_SIZES = (32, 64, 128, 256)
# It reads weights in tiles of so many rows.
_INT4_ROW_TILE = 16


class Int4Linear:
    """torch's CPU kernel for 4-bit weights; grids of 2 and 3 bits fit into it as they are.

    It computes in bf16 whatever the rows are: its float32 variant is plain reference code, many
    times slower.
    """

    kernel = "torch int4"

    def __init__(self, grid: Grid, bias: torch.Tensor | None):
        self._group_size = grid.group_size
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
            grid.values.to(torch.int32), 1
        )
        # The kernel computes (value - 8) * scale + offset.
        offsets = (_INT4_ORIGIN - grid.zeros) * grid.scales
        # The shape is [num_groups, out_features, 2]
        self._scales_and_offsets = (
            torch.stack([grid.scales, offsets], dim=-1).transpose(0, 1).contiguous().bfloat16()
        )
        self._bias = bias

    @property
    def num_bytes(self) -> int:
        bias_bytes = self._bias.nbytes if self._bias is not None else 0
        return int(self._packed.nbytes) + self._scales_and_offsets.nbytes + bias_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.bfloat16(), self._packed, self._group_size, self._scales_and_offsets
        ).to(x.dtype)
        return product if self._bias is None else product + self._bias


class DequantizedLinear(DenseLinear):
    """The grid's weight written out again: its exact numbers, without its small size."""

    kernel = "dequantized"


def linear_of(grid: Grid, bits: int, bias: torch.Tensor | None, dtype: torch.dtype) -> Linear:
    """The fastest layer that computes a grid on this device."""
    fits_int4 = (
        bits <= 4
        and grid.values.device.type == "cpu"
        and grid.group_size in _INT4_GROUP_SIZES
        and grid.values.shape[0] % _INT4_ROW_TILE == 0
    )
    if fits_int4:
        return Int4Linear(grid, bias)
    return DequantizedLinear(grid.dequantize(dtype), bias)
