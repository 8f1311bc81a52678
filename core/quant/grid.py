"""Quantization of one weight to an hqq grid (Half-Quadratic Quantization, Badri and Shaji 2023)."""

from typing import NamedTuple

import torch

from core.backends.torch.linear import WeightGrid

# Of a weight that is quantized at once.
_MOST_NUMBERS = 1 << 25


class Grid(NamedTuple):
    """A weight as whole numbers: weight = (values - zeros) * scales, group by group."""

    values: torch.Tensor  # [out_features, in_features] uint8
    scales: torch.Tensor  # [out_features, num_groups] float32
    zeros: torch.Tensor  # [out_features, num_groups] float32

    def to_weight_grid(self, bits: int) -> WeightGrid:
        """The weight with offsets in place of zeros, both rounded to half precision: half the bytes
        beside the values."""
        scales, offsets = self.scales.half(), (-self.zeros * self.scales).half()
        return WeightGrid(self.values, scales.float(), offsets.float(), bits)


def quantize(
    weight: torch.Tensor,  # [out_features, in_features]
    bits: int,
    group_size: int,
) -> Grid:
    """hqq along the input axis (axis 1), with its default optimizer; deterministic.

    A large weight is quantized some outputs at a time, for the optimizer holds it several times.
    """
    out_features, in_features = weight.shape
    rows = max(1, _MOST_NUMBERS // in_features)
    parts = [
        _quantize_whole(weight[first : first + rows], bits, group_size)
        for first in range(0, out_features, rows)
    ]
    return (
        parts[0]
        if len(parts) == 1
        else Grid(*(torch.cat(each) for each in zip(*parts, strict=True)))
    )


def _quantize_whole(
    weight: torch.Tensor,  # [out_features, in_features]
    bits: int,
    group_size: int,
) -> Grid:
    from hqq.core.quantize import Quantizer  # takes seconds to import

    packed, meta = Quantizer.quantize(
        weight.float(),
        nbits=bits,
        group_size=group_size,
        axis=1,
        round_zero=False,
        compute_dtype=torch.float32,
        device=weight.device.type,
    )
    out_features, in_features = weight.shape
    values = Quantizer.unpack[meta["packing"]](packed, dtype=torch.uint8)
    # Three-bit packing pads its rows.
    values = values[: weight.numel() // group_size].reshape(out_features, in_features)
    return Grid(
        values.contiguous(),
        meta["scale"].float().view(out_features, -1).contiguous(),
        meta["zero"].float().view(out_features, -1).contiguous(),
    )
