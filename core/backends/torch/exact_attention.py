"""Attention whose sums do not depend on the order of the columns.

A draft token stands in the cache wherever its tree put it, and plain decoding puts it elsewhere.
Adding the same numbers in another order rounds otherwise. So weights and values are rounded to
whole multiples of a power of two, coarse enough that float64 holds every partial sum exactly: then
any order gives the same bits.
"""

import torch

# exp(score - highest) in steps of 2^-22, values in steps of 2^-18. A product is a multiple of
# 2^-40, so that 53 bits hold every sum of weighted values below 2^13.
_WEIGHT_STEPS = 2.0**22
_VALUE_STEPS = 2.0**18


def attend_exactly(
    queries: torch.Tensor,  # [1, kv_heads, rows, head_dim]
    keys: torch.Tensor,  # [1, kv_heads, columns, head_dim]
    values: torch.Tensor,  # [1, kv_heads, columns, head_dim]
    mask: torch.Tensor,  # [1, 1, rows, columns] additive
    *,
    scale: float,
) -> torch.Tensor:
    """Scaled dot-product attention; entries that the mask hides must be finite.

    Returns rows in the dtype of the queries  # [1, kv_heads, rows, head_dim]
    """
    scores = torch.matmul(queries.float(), keys.float().transpose(-1, -2))
    scores = scores.mul_(scale).add_(mask)
    highest = scores.amax(dim=-1, keepdim=True)
    weights = scores.sub_(highest).exp_().mul_(_WEIGHT_STEPS).round_().double()
    whole_values = values.double().mul_(_VALUE_STEPS).round_()
    attended = torch.matmul(weights, whole_values) / weights.sum(dim=-1, keepdim=True)
    return attended.mul_(1.0 / _VALUE_STEPS).to(queries.dtype)
