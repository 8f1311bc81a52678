"""Linear layers as the compiled kernels read them: dense, or whole numbers with scales."""

from enum import IntEnum

import torch
import torch.nn.functional as F

from core.backends.cpu.library import Kernels, LinearStruct
from core.backends.torch.linear import WeightGrid

# The kernels take so many inputs at once, and of packed weights so many outputs.
_INPUT_STEP = 32
_PANEL = 8


class _Format(IntEnum):
    """Numbers of `with_format` in kernels.cpp."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT4_HALF_SCALES = 2
    INT4_FLOAT_SCALES = 3
    INT8_HALF_SCALES = 4
    INT8_FLOAT_SCALES = 5
    FLOAT16 = 6


# Bits of a weight and bytes of a scale.
_STORED = {
    _Format.FLOAT32: (32, 0),
    _Format.BFLOAT16: (16, 0),
    _Format.FLOAT16: (16, 0),
    _Format.INT4_HALF_SCALES: (4, 2),
    _Format.INT4_FLOAT_SCALES: (4, 4),
    _Format.INT8_HALF_SCALES: (8, 2),
    _Format.INT8_FLOAT_SCALES: (8, 4),
}


_HALVES = {torch.bfloat16: _Format.BFLOAT16, torch.float16: _Format.FLOAT16}


class CpuLinear:
    """Implements `core.backends.torch.linear.Linear` for float32 rows; also an embedding table.

    Few rows go through `struct` inside a whole forward. Called from Python, for many rows, dense
    weights are written out for torch's product, and packed ones take the kernels' as well.
    """

    def __init__(
        self,
        kernels: Kernels,
        kernel: str,
        format: _Format,
        in_features: int,
        values: torch.Tensor,  # [out_features, ...] dense, else [panels, ...]; see formats.h
        scales: torch.Tensor | None,  # [panels, num_groups, 2, outputs of a panel]
        bias: torch.Tensor | None,  # [out_features] float32
    ):
        self.kernel = kernel
        self.in_features = in_features
        self.out_features = values.shape[0] * (1 if scales is None else _PANEL)
        _check_bytes(format, self.out_features, in_features, values, scales, bias)
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
        return self.struct.format in (_Format.FLOAT32, _Format.BFLOAT16, _Format.FLOAT16)

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
        if not self.is_dense:
            product = torch.empty(x.shape[0], self.out_features)
            self.kernels.multiply_rows(self.struct, x.contiguous(), product)
            return product
        weight = self.kernels.scratch(self.out_features, self.in_features)
        self.kernels.dequantize(self.struct, weight)
        return F.linear(x, weight, self.bias)


def cpu_dense(
    kernels: Kernels,
    weight: torch.Tensor,  # [out_features, in_features] of any floating dtype
    bias: torch.Tensor | None,  # [out_features] float32
) -> CpuLinear:
    """A dense layer; kept in 16 bits where they hold every weight exactly, else in float32."""
    for dtype, format in _HALVES.items():
        halved = weight.to(dtype).contiguous()
        if weight.dtype == dtype or torch.equal(halved.float(), weight.float()):
            kernel = f"native {'bf16' if dtype == torch.bfloat16 else 'fp16'}"
            return CpuLinear(kernels, kernel, format, halved.shape[1], halved, None, bias)
    values = weight.float().contiguous()
    return CpuLinear(kernels, "native fp32", _Format.FLOAT32, values.shape[1], values, None, bias)


def cpu_grid(kernels: Kernels, grid: WeightGrid, bias: torch.Tensor | None) -> CpuLinear:
    """A layer of 4- or 8-bit whole numbers; scales in half precision where that is exact.

    Its products round their rows to 8 bits, as llama.cpp's do.
    """
    is_small = grid.bits <= 4
    # Eight bits count from -128, for the kernel reads them as signed.
    offsets = grid.offsets if is_small else grid.offsets + 128.0 * grid.scales
    both = torch.stack([grid.scales, offsets], dim=-1)  # [out_features, num_groups, 2]
    pairs = both.view(-1, _PANEL, *both.shape[1:]).permute(0, 2, 3, 1).contiguous()
    halved = pairs.half()
    is_exact = torch.equal(halved.float(), pairs)
    if is_small:
        format = _Format.INT4_HALF_SCALES if is_exact else _Format.INT4_FLOAT_SCALES
        # A byte holds a column and the one four behind it.
        columns = grid.values.view(grid.values.shape[0], -1, 2, 4)
        values = _panels(columns[:, :, 0] | (columns[:, :, 1] << 4))
    else:
        format = _Format.INT8_HALF_SCALES if is_exact else _Format.INT8_FLOAT_SCALES
        values = _panels((grid.values ^ 0x80).view(grid.values.shape[0], -1, 4))
    scales = halved if is_exact else pairs
    kernel = f"native int{4 if is_small else 8}, rows in 8 bits"
    return CpuLinear(kernels, kernel, format, grid.values.shape[1], values, scales, bias)


def can_read_grid(grid: WeightGrid) -> bool:
    """Whether the kernels' panels fit the grid."""
    out_features, in_features = grid.values.shape
    is_whole = out_features % _PANEL == 0 and in_features % _INPUT_STEP == 0
    is_power = grid.group_size & (grid.group_size - 1) == 0
    is_power = is_power and grid.group_size * grid.scales.shape[1] == in_features
    return is_whole and grid.group_size >= _INPUT_STEP and is_power


def _check_bytes(
    format: _Format,
    out_features: int,
    in_features: int,
    values: torch.Tensor,
    scales: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> None:
    """Raises ValueError where the kernels would read more, or other, memory than there is."""
    bits, scale_bytes = _STORED[format]
    num_scales = 0
    if scales is not None:
        units = in_features // _INPUT_STEP >> _group_shift(in_features // scales.shape[1])
        num_scales = 2 * out_features * units
    wanted = (out_features * in_features * bits // 8, num_scales * scale_bytes, out_features * 4)
    for name, part, num_bytes in zip(
        ("values", "scales", "bias"), (values, scales, bias), wanted, strict=True
    ):
        if part is not None and (part.nbytes != num_bytes or not part.is_contiguous()):
            raise ValueError(
                f"a layer of {out_features} by {in_features} weights in the format {format.name} "
                f"takes {num_bytes} bytes of {name} and was given {part.nbytes}"
            )


def _group_shift(group_size: int) -> int:
    """Doublings from the kernels' step to a group."""
    return (group_size // _INPUT_STEP).bit_length() - 1


def can_read_dense(
    weight: torch.Tensor,  # [out_features, in_features]
) -> bool:
    """Whether the kernels' tiles fit a dense weight."""
    return weight.shape[1] % _INPUT_STEP == 0


def _panels(
    words: torch.Tensor,  # [out_features, words of a row, 4] uint8
) -> torch.Tensor:
    """Returns int32  # [panels, words of a row, outputs of a panel]"""
    parted = words.view(-1, _PANEL, *words.shape[1:]).transpose(1, 2).contiguous()
    return parted.view(torch.int32).squeeze(-1)
