"""Linear layers over whole numbers with scales, for our own forward."""

import torch

from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import can_read_grid, cpu_grid
from core.backends.cuda.kernels.linear import PackedLinear
from core.backends.torch.linear import DenseLinear, Linear, WeightGrid
from core.errors import KernelsUnavailableError

# torch's int4 kernel for the CPU counts its whole numbers from here.
_INT4_ORIGIN = 8
_INT4_GROUP_SIZES = (32, 64, 128, 256)
# It reads weights in tiles of so many rows.
_INT4_ROW_TILE = 16


class _Int4Plane:
    """Whole numbers from 0 to 15 packed for torch's CPU kernel.

    It computes in bf16 whatever the rows are: its float32 variant is plain reference code, many
    times slower.
    """

    def __init__(self, grid: WeightGrid):
        self._group_size = grid.group_size
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
            grid.values.to(torch.int32), 1
        )
        # The kernel computes (value - 8) * scale + offset.
        offsets = grid.offsets + _INT4_ORIGIN * grid.scales
        # The shape is [num_groups, out_features, 2]
        self._scales_and_offsets = (
            torch.stack([grid.scales, offsets], dim=-1).transpose(0, 1).contiguous().bfloat16()
        )

    @property
    def num_bytes(self) -> int:
        return int(self._packed.nbytes) + self._scales_and_offsets.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x, self._packed, self._group_size, self._scales_and_offsets
        )
        return product


class Int4Linear:
    """torch's CPU kernel for 4-bit weights; grids of 2 and 3 bits fit into it as they are."""

    kernel = "torch int4"

    def __init__(self, grid: WeightGrid, bias: torch.Tensor | None):
        self.out_features, self.in_features = grid.values.shape
        self._plane = _Int4Plane(grid)
        self._bias = bias

    @property
    def num_bytes(self) -> int:
        return self._plane.num_bytes + (self._bias.nbytes if self._bias is not None else 0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        product = self._plane(x.bfloat16()).to(x.dtype)
        return product if self._bias is None else product + self._bias


class Int8Linear:
    """8-bit weights as two planes of the int4 kernel, for torch's int8 kernel has no groups.

    value = 16 * high + low, so the high plane has 16 times the scale and no offset.
    """

    kernel = "torch int4, two planes"

    def __init__(self, grid: WeightGrid, bias: torch.Tensor | None):
        self.out_features, self.in_features = grid.values.shape
        high = WeightGrid(grid.values >> 4, grid.scales * 16, torch.zeros_like(grid.offsets), 4)
        self._high = _Int4Plane(high)
        self._low = _Int4Plane(grid._replace(values=grid.values & 15, bits=4))
        self._bias = bias

    @property
    def num_bytes(self) -> int:
        bias_bytes = self._bias.nbytes if self._bias is not None else 0
        return self._high.num_bytes + self._low.num_bytes + bias_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.bfloat16()
        product = self._high(rows).to(x.dtype) + self._low(rows)
        return product if self._bias is None else product + self._bias


class DequantizedLinear(DenseLinear):
    """The grid's weight written out again: its exact numbers, without its small size."""

    kernel = "dequantized"


def linear_of(
    grid: WeightGrid,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    kernels: Kernels | None = None,
) -> Linear:
    """The fastest layer that computes a grid on this device; `kernels` are those of its forward."""
    if kernels is not None and can_read_grid(grid):
        return cpu_grid(kernels, grid, bias)
    # Beside compiled kernels a layer that they cannot read is written out, which they can.
    fits_int4 = (
        kernels is None
        and grid.values.device.type == "cpu"
        and grid.group_size in _INT4_GROUP_SIZES
        and grid.values.shape[0] % _INT4_ROW_TILE == 0
    )
    if fits_int4:
        return Int4Linear(grid, bias) if grid.bits <= 4 else Int8Linear(grid, bias)
    if grid.values.device.type == "cuda":
        try:
            return PackedLinear(grid, bias, dtype)
        except KernelsUnavailableError:  # the trace names the layers' kernels
            pass
    return DequantizedLinear(grid.dequantize().to(dtype), bias)
