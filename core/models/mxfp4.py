"""Weights in 4 bits as gpt-oss has its experts (OCP Microscaling Formats 1.0, MXFP4)."""

import torch

# Sign, two bits of exponent, one of mantissa.
_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_BIAS = 127


def unpacked(
    blocks: torch.Tensor,  # [rows, groups, 16] uint8, two weights a byte, the lower half first
    scales: torch.Tensor,  # [rows, groups] uint8, exponents of two
) -> torch.Tensor:
    """The weights, which bfloat16 holds exactly  # [rows, groups * 32] bfloat16."""
    table = torch.tensor([*_VALUES, *(-value for value in _VALUES)], dtype=torch.bfloat16)
    halves = torch.stack([blocks & 15, blocks >> 4], dim=-1)  # [rows, groups, 16, 2]
    values = table[halves.flatten(2).int()]
    return torch.ldexp(values, (scales.int() - _BIAS)[..., None]).flatten(1).to(torch.bfloat16)
