"""Linear layers as the compiled kernels read them: panels of floating or whole numbers."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import torch

from core.backends.cpu.library import Kernels, LinearStruct, SegmentStruct
from core.backends.torch.linear import WeightGrid

# Columns that the kernels round together.
_UNIT = 32


class Format(IntEnum):
    """Numbers of `with_format` in formats.h; those of GGUF files by their names there."""

    FLOAT32 = 0
    BFLOAT16 = 1
    FLOAT16 = 2
    INT2_HALF_SCALES = 3
    INT3_HALF_SCALES = 4
    Q4_1 = 5
    Q5_1 = 6
    INT8_HALF_SCALES = 7
    INT2_FLOAT_SCALES = 8
    INT3_FLOAT_SCALES = 9
    INT4_FLOAT_SCALES = 10
    INT8_FLOAT_SCALES = 11
    Q4_0 = 12
    Q5_0 = 13
    Q8_0 = 14
    Q2_K = 15
    Q3_K = 16
    Q4_K = 17
    Q5_K = 18
    Q6_K = 19


class _Stored(NamedTuple):
    bits: int
    """Of a number."""
    block_columns: int = 0
    """Columns of a block of a GGUF file."""
    block_scale_bytes: int = 0
    """What the scales of an output take beside a block's numbers."""


_STORED = {
    Format.FLOAT32: _Stored(32),
    Format.BFLOAT16: _Stored(16),
    Format.FLOAT16: _Stored(16),
    Format.INT2_HALF_SCALES: _Stored(2),
    Format.INT3_HALF_SCALES: _Stored(3),
    Format.Q4_1: _Stored(4, 32, 4),
    Format.Q5_1: _Stored(5, 32, 4),
    Format.INT8_HALF_SCALES: _Stored(8),
    Format.INT2_FLOAT_SCALES: _Stored(2),
    Format.INT3_FLOAT_SCALES: _Stored(3),
    Format.INT4_FLOAT_SCALES: _Stored(4),
    Format.INT8_FLOAT_SCALES: _Stored(8),
    Format.Q4_0: _Stored(4, 32, 2),
    Format.Q5_0: _Stored(5, 32, 2),
    Format.Q8_0: _Stored(8, 32, 2),
    Format.Q2_K: _Stored(2, 256, 36),
    Format.Q3_K: _Stored(3, 256, 18),
    Format.Q4_K: _Stored(4, 256, 20),
    Format.Q5_K: _Stored(5, 256, 20),
    Format.Q6_K: _Stored(6, 256, 18),
}
_GRIDS = {
    (2, torch.float16): Format.INT2_HALF_SCALES,
    (3, torch.float16): Format.INT3_HALF_SCALES,
    (4, torch.float16): Format.Q4_1,
    (8, torch.float16): Format.INT8_HALF_SCALES,
    (2, torch.float32): Format.INT2_FLOAT_SCALES,
    (3, torch.float32): Format.INT3_FLOAT_SCALES,
    (4, torch.float32): Format.INT4_FLOAT_SCALES,
    (8, torch.float32): Format.INT8_FLOAT_SCALES,
}
_FLOATS = {
    torch.bfloat16: (Format.BFLOAT16, "native bf16"),
    torch.float16: (Format.FLOAT16, "native fp16"),
    torch.float32: (Format.FLOAT32, "native fp32"),
}
_HALVES = (torch.bfloat16, torch.float16)


class Segment(NamedTuple):
    """Some outputs of a layer in one format."""

    format: Format
    kernel: str
    """What computes it, for the trace."""
    num_outputs: int
    values: torch.Tensor  # [panels, bytes of a panel] uint8
    scales: torch.Tensor | None = None  # [panels, bytes of a panel] uint8
    group_size: int = _UNIT


class CpuLinear:
    """Implements `core.backends.torch.linear.Linear` for float32 rows; also an embedding table."""

    def __init__(
        self,
        kernels: Kernels,
        in_features: int,
        segments: Sequence[Segment],
        bias: torch.Tensor | None,  # [out_features] float32
        *,
        rounds_rows: bool = False,
    ):
        """With `rounds_rows` bfloat16 weights multiply rows that are rounded to bfloat16.

        Raises ValueError where the kernels would read more, or other, memory than there is.
        """
        self.in_features = in_features
        self.out_features = sum(segment.num_outputs for segment in segments)
        self.kernels = kernels
        self.bias = bias
        self.segments = tuple(segments)
        names = sorted({segment.kernel for segment in segments})
        self.kernel = " and ".join(names) + (", rows in bf16" if rounds_rows else "")
        _check_bytes(kernels, self.out_features, in_features, segments, bias)
        structs, first = [], 0
        for segment in segments:
            structs.append(
                SegmentStruct(
                    format=segment.format,
                    group_shift=(segment.group_size // _UNIT).bit_length() - 1,
                    first_output=first,
                    num_outputs=segment.num_outputs,
                    values=segment.values.data_ptr(),
                    scales=None if segment.scales is None else segment.scales.data_ptr(),
                )
            )
            first += segment.num_outputs
        self.struct = LinearStruct(
            out_features=self.out_features,
            in_features=in_features,
            num_segments=len(structs),
            rounds_rows=rounds_rows,
            segments=(SegmentStruct * len(structs))(*structs),
            bias=None if bias is None else bias.data_ptr(),
        )

    @property
    def num_bytes(self) -> int:
        parts = [part for segment in self.segments for part in (segment.values, segment.scales)]
        return sum(part.nbytes for part in (*parts, self.bias) if part is not None)

    @property
    def is_dense(self) -> bool:
        """Whether its weights are floating numbers."""
        return all(segment.scales is None for segment in self.segments)

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
        product = torch.empty(x.shape[0], self.out_features)
        self.kernels.multiply_rows(self.struct, x.contiguous(), product)
        return product


def cpu_dense(
    kernels: Kernels,
    weights: torch.Tensor | Sequence[torch.Tensor],  # [out_features, in_features], any float dtype
    bias: torch.Tensor | None,  # [out_features] float32
    *,
    rounds_rows: bool = False,
) -> CpuLinear:
    """A dense layer of the rows of one or more weights; kept in 16 bits where they hold every number
    exactly, else in float32."""
    parts = [weights] if isinstance(weights, torch.Tensor) else list(weights)
    segments = [dense_segment(kernels, part) for part in parts]
    rounds = rounds_rows and any(segment.format == Format.BFLOAT16 for segment in segments)
    return CpuLinear(kernels, parts[0].shape[1], segments, bias, rounds_rows=rounds)


def dense_segment(
    kernels: Kernels,
    weight: torch.Tensor,  # [num_outputs, in_features], any float dtype
) -> Segment:
    """Floating numbers; see `cpu_dense`."""
    weight = _exactly_halved(weight).contiguous()
    format, kernel = _FLOATS[weight.dtype]
    values = kernels.pack_floats(weight)
    return Segment(format, kernel, len(weight), values)


def _exactly_halved(weight: torch.Tensor) -> torch.Tensor:
    if weight.dtype in _HALVES:
        return weight
    for dtype in _HALVES:
        halved = weight.to(dtype)
        if torch.equal(halved.float(), weight.float()):
            return halved
    return weight.float()


def cpu_bytes(
    kernels: Kernels,
    weights: torch.Tensor | Sequence[torch.Tensor],  # [out_features, in_features], any float dtype
    bias: torch.Tensor | None,  # [out_features] float32
) -> CpuLinear:
    """The same with weights rounded to 8 bits, 32 of a row to a scale, as Q8_0 has them: for drafts, of
    which others choose."""
    parts = [weights] if isinstance(weights, torch.Tensor) else list(weights)
    segments = [_rounded_segment(kernels, part) for part in parts]
    return CpuLinear(kernels, parts[0].shape[1], segments, bias)


def _rounded_segment(kernels: Kernels, weight: torch.Tensor) -> Segment:
    num_outputs, width = weight.shape
    groups = weight.float().view(num_outputs, -1, _UNIT)
    scales = (groups.abs().amax(dim=-1) / 127.0).half()
    # What is too small for a scale is zero.
    inverse = torch.where(scales > 0, 1.0 / scales.float(), 0.0)
    numbers = (groups * inverse[:, :, None]).round().clamp(-127, 127) + 128
    values = kernels.pack_numbers(numbers.to(torch.uint8).view(num_outputs, width), 8)
    panels = _in_panels(kernels, scales[:, :, None]).view(torch.uint8)
    kernel = "native Q8_0, rows in 8 bits"
    return Segment(Format.Q8_0, kernel, num_outputs, values, panels.view(len(values), -1))


def _in_panels(
    kernels: Kernels,
    numbers: torch.Tensor,  # [num_outputs, num_groups, count]
) -> torch.Tensor:
    """Side by side what belongs to the outputs of a panel
    # [panels, num_groups * count, outputs of a panel]"""
    panel = kernels.panel_outputs
    num_panels = -(-len(numbers) // panel)
    padded = numbers.new_zeros(num_panels * panel, *numbers.shape[1:])
    padded[: len(numbers)] = numbers
    return padded.view(num_panels, panel, -1).transpose(1, 2).contiguous()


def cpu_grid(kernels: Kernels, grid: WeightGrid, bias: torch.Tensor | None) -> CpuLinear:
    """A layer of 2-, 3-, 4- or 8-bit whole numbers; scales in half precision where that is exact.

    Its products round their rows to 8 bits, as llama.cpp's do.
    """
    num_outputs, in_features = grid.values.shape
    pairs = _in_panels(kernels, torch.stack([grid.scales, grid.offsets], dim=-1))
    halved = pairs.half()
    scales = halved if torch.equal(halved.float(), pairs) else pairs
    segment = Segment(
        _GRIDS[grid.bits, scales.dtype],
        f"native int{grid.bits}, rows in 8 bits",
        num_outputs,
        kernels.pack_numbers(grid.values.contiguous(), grid.bits),
        scales.view(torch.uint8).view(len(scales), -1),
        grid.group_size,
    )
    return CpuLinear(kernels, in_features, [segment], bias)


class Blocks(NamedTuple):
    """Rows of a GGUF file's tensor as they stand there."""

    format: Format
    data: np.ndarray[Any, Any]  # [num_outputs, bytes of a row] uint8
    in_features: int


def block_segment(kernels: Kernels, blocks: Blocks) -> Segment:
    """The very numbers of a file, laid out in panels."""
    stored = _STORED[blocks.format]
    num_blocks = blocks.in_features // stored.block_columns
    scale_bytes = kernels.panel_outputs * num_blocks * stored.block_scale_bytes
    values, scales = kernels.pack_blocks(
        blocks.format,
        np.ascontiguousarray(blocks.data),
        blocks.in_features,
        stored.bits,
        scale_bytes,
    )
    kernel = f"native {blocks.format.name}, rows in 8 bits"
    return Segment(blocks.format, kernel, len(blocks.data), values, scales)


def can_read_grid(grid: WeightGrid) -> bool:
    """Whether the kernels' units fit the grid."""
    in_features = grid.values.shape[1]
    is_power = grid.group_size & (grid.group_size - 1) == 0
    is_whole = is_power and grid.group_size * grid.scales.shape[1] == in_features
    is_known = (grid.bits, torch.float32) in _GRIDS
    return is_known and is_whole and grid.group_size >= _UNIT


def can_read_dense(
    weight: torch.Tensor,  # [out_features, in_features]
) -> bool:
    """Whether the kernels' tiles fit a dense weight."""
    return weight.shape[1] % _UNIT == 0


def can_read_blocks(type_name: str, in_features: int) -> bool:
    """Whether the kernels read a tensor of a GGUF file as it stands there."""
    if type_name not in Format.__members__:
        return False
    columns = _STORED[Format[type_name]].block_columns
    return columns > 0 and in_features % columns == 0


def _check_bytes(
    kernels: Kernels,
    out_features: int,
    in_features: int,
    segments: Sequence[Segment],
    bias: torch.Tensor | None,
) -> None:
    wanted: list[tuple[str, torch.Tensor | None, int]] = [("bias", bias, out_features * 4)]
    for segment in segments:
        stored = _STORED[segment.format]
        outputs = -(-segment.num_outputs // kernels.panel_outputs) * kernels.panel_outputs
        wanted.append(("values", segment.values, outputs * in_features * stored.bits // 8))
        if segment.scales is not None:
            wanted.append(("scales", segment.scales, outputs * _scale_bytes(segment, in_features)))
    for name, part, num_bytes in wanted:
        if part is not None and (part.nbytes != num_bytes or not part.is_contiguous()):
            formats = " and ".join(segment.format.name for segment in segments)
            raise ValueError(
                f"a layer of {out_features} by {in_features} weights in the format {formats} "
                f"takes {num_bytes} bytes of {name} and was given {part.nbytes}"
            )


def _scale_bytes(segment: Segment, in_features: int) -> int:
    """Of an output."""
    stored = _STORED[segment.format]
    for (_, dtype), format in _GRIDS.items():
        if format == segment.format:
            return in_features // segment.group_size * 2 * dtype.itemsize
    return in_features // stored.block_columns * stored.block_scale_bytes
