"""Which variant of `rows.cu` computes a product, and what fits into a device's shared memory."""

from functools import cache
from typing import NamedTuple

import torch

from core.backends.cuda.kernels.packing import CHUNK, OCTET

DENSE_BITS = 16
DTYPES = {torch.bfloat16: 0, torch.float16: 1, torch.float32: 2}
# Norms of rows: none, with weights in the dtype of the rows, with weights in float32.
NO_NORM, OWN_NORM, FLOAT_NORM = 0, 1, 2
# Rows that a variant computes at most.
ROWS = (1, 2, 4, 8)
# How many share out the inputs decides the order of sums: it depends on the format alone.
_WARPS, _DENSE_WARPS = 16, 8
_STAGES, _DENSE_STAGES, _LEAST_STAGES = 3, 5, 2


class Weight(NamedTuple):
    """A weight as the kernel reads it."""

    data: torch.Tensor
    """Packed whole numbers (`core.backends.cuda.kernels.packing`) or, of 16 bits, [outputs, inputs]."""
    bits: int
    group_size: int
    """Weights that share a scale; of 16 bits any."""
    num_inputs: int
    num_outputs: int
    bias: torch.Tensor | None = None  # [outputs]

    @property
    def num_tiles(self) -> int:
        """Outputs in the sixteens that a block of threads computes at once."""
        return -(-self.num_outputs // (2 * OCTET))


class Device(NamedTuple):
    """What decides a variant."""

    architecture: int
    """Compute capability times ten."""
    num_processors: int
    shared_bytes: int
    """Of one block of threads at most."""


@cache
def device_of(index: int) -> Device:
    """A GPU by its number."""
    properties = torch.cuda.get_device_properties(index)
    return Device(
        properties.major * 10 + properties.minor,
        properties.multi_processor_count,
        properties.shared_memory_per_block_optin,  # type: ignore[attr-defined]
    )


class Variant(NamedTuple):
    """What the kernel is compiled for."""

    bits: int
    group_size: int
    dtype: int
    rows: int
    norm: int
    added: int
    ending: int
    warps: int
    stages: int

    def values(self) -> dict[str, int]:
        """By the names at the head of `rows.cu`."""
        return {
            "BITS": self.bits, "GROUP": self.group_size, "DTYPE": self.dtype, "ROWS": self.rows,
            "NORM": self.norm, "ADDED": self.added, "ENDING": self.ending, "WARPS": self.warps,
            "STAGES": self.stages,
        }  # fmt: skip

    def shared_bytes(self, num_inputs: int) -> int:
        """Shared memory of a block of threads, as the kernel lays it out."""
        chunks = -(-num_inputs // CHUNK)
        is_dense = self.bits == DENSE_BITS
        groups = 1 if is_dense else CHUNK // self.group_size
        stage = 2 * (CHUNK * self.bits + (0 if is_dense else groups * OCTET * 4))
        parts = 1 if is_dense else self.dtype + 1
        rows = self.rows * parts * (chunks * CHUNK * 2 + 64)
        sums = -(-chunks * groups * self.rows // 4) * 16
        shares = 2 * self.warps * 32 * 16 + (self.warps + 1) * self.rows * 4
        return self.warps * self.stages * stage + rows + sums + shares


def variant_for(
    weight: Weight,
    device: Device,
    dtype: torch.dtype,
    num_rows: int,
    *,
    norm: int = NO_NORM,
    added: int = NO_NORM,
    ending: int = 0,
) -> Variant | None:
    """The variant for so many rows, with as many stages as there is room for; None where there is none
    for two."""
    is_dense = weight.bits == DENSE_BITS
    warps, wanted = (_DENSE_WARPS, _DENSE_STAGES) if is_dense else (_WARPS, _STAGES)
    rows = next(rows for rows in ROWS if rows >= num_rows)
    for stages in range(wanted, _LEAST_STAGES - 1, -1):
        variant = Variant(
            weight.bits, weight.group_size, DTYPES[dtype], rows, norm, added, ending, warps, stages
        )
        if variant.shared_bytes(weight.num_inputs) <= device.shared_bytes:
            return variant
    return None


def most_rows(weight: Weight, device: Device, dtype: torch.dtype) -> int:
    """Rows that the kernel computes at once; 0 where not even one has room beside the weights."""
    counts = (rows for rows in reversed(ROWS) if variant_for(weight, device, dtype, rows))
    return next(counts, 0)
