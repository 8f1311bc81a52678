"""Linear layers as the compiled kernels read them: dense, or whole numbers with scales."""

from enum import IntEnum

import torch
import torch.nn.functional as F

from core.lean.linear import WeightGrid
from core.lean.native.library import Kernels, LinearStruct

# The kernels take so many inputs at once; words of 4-bit numbers hold twice as many.
_INPUT_STEP = 32
_INT4_INPUT_STEP = 64


class _Format(IntEnum):
    """Numbers of `with_format` in kernels.cpp."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT4_HALF_SCALES = 2
    INT4_FLOAT_SCALES = 3
    INT8_HALF_SCALES = 4
    INT8_FLOAT_SCALES = 5
    ROUNDED_INT4_HALF_SCALES = 6
    ROUNDED_INT4_FLOAT_SCALES = 7


# Groups of weights that a product with rounded rows takes at once.
_ROUNDED_STEP = 64
_ROUNDED = {
    _Format.INT4_HALF_SCALES: _Format.ROUNDED_INT4_HALF_SCALES,
    _Format.INT4_FLOAT_SCALES: _Format.ROUNDED_INT4_FLOAT_SCALES,
}


class NativeLinear:
    """Implements `core.lean.linear.Linear` for float32 rows; also an embedding table.

    Called from Python it writes its weights out and multiplies with torch, which is the fast way
    for many rows; few rows go through `struct` inside a whole forward.
    """

    def __init__(
        self,
        kernels: Kernels,
        kernel: str,
        format: _Format,
        in_features: int,
        values: torch.Tensor,  # [out_features, bytes of a row in the format's layout]
        scales: torch.Tensor | None,  # [out_features, num_groups, 2]
        bias: torch.Tensor | None,  # [out_features] float32
    ):
        self.kernel = kernel
        self.in_features = in_features
        self.out_features = values.shape[0]
        self.kernels = kernels
        # The structure points into these.
        self._tensors = [part for part in (values, scales, bias) if part is not None]
        self.bias = bias
        self.struct = LinearStruct(
            format=format,
            out_features=self.out_features,
            in_features=in_features,
            group_shift=_group_shift(in_features // scales.shape[1]) if scales is not None else 0,
            values=values.data_ptr(),
            scales=scales.data_ptr() if scales is not None else None,
            bias=bias.data_ptr() if bias is not None else None,
        )

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors)

    @property
    def is_dense(self) -> bool:
        """Whether its weights are floating numbers."""
        return self.struct.format in (_Format.FLOAT32, _Format.BFLOAT16)

    def dequantize(self) -> torch.Tensor:
        """The weights as every product counts them  # [out_features, in_features] float32."""
        weight = torch.empty(self.out_features, self.in_features)
        self.kernels.dequantize(self.struct, weight)
        return weight

    def rows(
        self,
        indices: torch.Tensor,  # [rows]
    ) -> torch.Tensor:
        """Rows of the weights  # [rows, in_features] float32."""
        found = torch.empty(indices.shape[0], self.in_features)
        self.kernels.write_rows(self.struct, indices.contiguous(), found)
        return found

    def __call__(
        self,
        x: torch.Tensor,  # [rows, in_features] float32
    ) -> torch.Tensor:
        """Returns  # [rows, out_features]."""
        weight = self.kernels.scratch(self.out_features, self.in_features)
        self.kernels.dequantize(self.struct, weight)
        return F.linear(x, weight, self.bias)


def native_dense(
    kernels: Kernels,
    weight: torch.Tensor,  # [out_features, in_features] of any floating dtype
    bias: torch.Tensor | None,  # [out_features] float32
) -> NativeLinear:
    """A dense layer; kept in bfloat16 where that holds every weight exactly, else in float32."""
    halved = weight.bfloat16().contiguous()
    if weight.dtype == torch.bfloat16 or torch.equal(halved.float(), weight.float()):
        kernel, format, values = "native bf16", _Format.BFLOAT16, halved
    else:
        kernel, format, values = "native fp32", _Format.FLOAT32, weight.float().contiguous()
    return NativeLinear(kernels, kernel, format, values.shape[1], values, None, bias)


def native_grid(
    kernels: Kernels, grid: WeightGrid, bias: torch.Tensor | None, *, rounds_rows: bool = False
) -> NativeLinear:
    """A layer of 4- or 8-bit whole numbers; scales in half precision where that is exact.

    `rounds_rows` lets products round their rows to 8 bits, where the kernels can: faster, and near
    enough for drafts.
    """
    is_small = grid.bits <= 4
    # Eight bits count from -128, for the kernel reads them as signed.
    offsets = grid.offsets if is_small else grid.offsets + 128.0 * grid.scales
    pairs = torch.stack([grid.scales, offsets], dim=-1)  # [out_features, num_groups, 2]
    halved = pairs.half()
    is_exact = torch.equal(halved.float(), pairs)
    if is_small:
        format = _Format.INT4_HALF_SCALES if is_exact else _Format.INT4_FLOAT_SCALES
        values = _words(grid.values, bits=4)
    else:
        format = _Format.INT8_HALF_SCALES if is_exact else _Format.INT8_FLOAT_SCALES
        values = _words(grid.values ^ 0x80, bits=8)
    scales = halved if is_exact else pairs
    kernel = "native int4" if is_small else "native int8"
    if rounds_rows and is_small and grid.group_size >= _ROUNDED_STEP:
        format = _ROUNDED[format]
        kernel = "native int4, rows in 8 bits"
    return NativeLinear(
        kernels, kernel, format, grid.values.shape[1], values, scales.contiguous(), bias
    )


def can_read_grid(grid: WeightGrid) -> bool:
    """Whether the kernels' tiles fit the grid."""
    step = _INT4_INPUT_STEP if grid.bits <= 4 else _INPUT_STEP
    is_power = grid.group_size & (grid.group_size - 1) == 0
    return grid.values.shape[1] % step == 0 and grid.group_size >= _INPUT_STEP and is_power


def _group_shift(group_size: int) -> int:
    """Doublings from the kernels' step to a group."""
    return (group_size // _INPUT_STEP).bit_length() - 1


def can_read_dense(
    weight: torch.Tensor,  # [out_features, in_features]
) -> bool:
    """Whether the kernels' tiles fit a dense weight."""
    return weight.shape[1] % _INPUT_STEP == 0


def _words(
    values: torch.Tensor,  # [out_features, in_features] uint8
    bits: int,
) -> torch.Tensor:
    """Eight words for eight vectors' lanes: vector i stands in bits i * `bits` and up.

    Returns int32  # [out_features, in_features * bits / 32]
    """
    if bits == 4:  # the vectors 2k and 2k + 1 are the halves of byte k
        halves = values.view(torch.int64).view(values.shape[0], -1, 2)  # eight lanes at once
        values = (halves[:, :, 0] | (halves[:, :, 1] << 4)).view(torch.uint8)
    in_bytes = values.reshape(values.shape[0], -1, 4, 8)  # [out_features, words / 8, byte, lane]
    return in_bytes.transpose(2, 3).contiguous().view(torch.int32).view(values.shape[0], -1)
