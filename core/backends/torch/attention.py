"""Attention beside what torch's own offers: exact sums, soft caps, and sinks.

A draft token stands in the cache wherever its tree put it, and plain decoding puts it elsewhere.
Adding the same numbers in another order rounds otherwise. So where sums are to be exact, weights and
values are rounded to whole multiples of a power of two, coarse enough that float64 holds every
partial sum exactly: then any order gives the same bits.
"""

import torch
import torch.nn.functional as F

from core.families.architecture import Architecture

# exp(score - highest) in steps of 2^-22, values in steps of 2^-18. A product is a multiple of
# 2^-40, so that 53 bits hold every sum of weighted values below 2^13.
_WEIGHT_STEPS = 2.0**22
_VALUE_STEPS = 2.0**18


def attend(
    queries: torch.Tensor,  # [1, kv_heads, rows, head_dim]
    keys: torch.Tensor,  # [1, kv_heads, columns, head_dim]
    values: torch.Tensor,  # [1, kv_heads, columns, head_dim]
    mask: torch.Tensor | None,  # [1, 1, rows, columns] additive
    *,
    scale: float,
    cap: float | None = None,
    sinks: torch.Tensor | None = None,  # [1, kv_heads, rows, 1]
    is_exact: bool = False,
) -> torch.Tensor:
    """Scaled dot-product attention; entries that the mask hides must be finite.

    `cap` bounds the scores softly, and a row's sink is one more score, whose value is nothing.
    Returns rows in the dtype of the queries  # [1, kv_heads, rows, head_dim]
    """
    scores = torch.matmul(queries.float(), keys.float().transpose(-1, -2)).mul_(scale)
    if cap is not None:
        scores = scores.div_(cap).tanh_().mul_(cap)
    if mask is not None:
        scores = scores.add_(mask)
    highest = scores.amax(dim=-1, keepdim=True)
    if sinks is not None:
        sinks = sinks.float()
        highest = torch.maximum(highest, sinks)
    weights = scores.sub_(highest).exp_()
    if is_exact:
        weights = weights.mul_(_WEIGHT_STEPS).round_().double()
        whole_values = values.double().mul_(_VALUE_STEPS).round_()
        attended = torch.matmul(weights, whole_values).mul_(1.0 / _VALUE_STEPS)
    else:
        attended = torch.matmul(weights, values.float())
    total = weights.sum(dim=-1, keepdim=True)
    if sinks is not None:
        sink = (sinks - highest).exp()
        total = total + (sink.mul_(_WEIGHT_STEPS).round_().double() if is_exact else sink)
    return (attended / total).to(queries.dtype)


def attend_grouped(
    shape: Architecture,
    queries: torch.Tensor,  # [rows, heads, dim]
    keys: torch.Tensor,  # [1, kv_heads, columns, dim]
    values: torch.Tensor,
    mask: torch.Tensor | None,  # [1, 1, rows or groups * rows, columns] additive
    *,
    sinks: torch.Tensor | None,  # [heads]
    is_exact: bool = False,
) -> torch.Tensor:
    """Attention of one sequence's rows, the heads of a group beside each other as more rows.

    Returns  # [rows, heads * dim]
    """
    rows, num_kv_heads = queries.shape[0], shape.num_kv_heads
    groups = shape.num_heads // num_kv_heads
    # [1, kv_heads, groups * rows, dim]: head h reads the keys of kv head h // groups.
    grouped = queries.view(rows, num_kv_heads, groups, shape.head_dim)
    grouped = grouped.permute(1, 2, 0, 3).reshape(1, num_kv_heads, -1, shape.head_dim)
    if mask is not None and mask.shape[2] < grouped.shape[2]:
        mask = mask.repeat(1, 1, groups, 1)
    if shape.attention_cap is None and sinks is None and not is_exact:
        attended = F.scaled_dot_product_attention(grouped, keys, values, mask, scale=shape.scale)
    else:
        if sinks is not None:
            sinks = sinks.view(num_kv_heads, -1, 1).expand(-1, -1, rows)
            sinks = sinks.reshape(1, num_kv_heads, -1, 1)
        attended = attend(
            grouped,
            keys,
            values,
            mask,
            scale=shape.scale,
            cap=shape.attention_cap,
            sinks=sinks,
            is_exact=is_exact,
        )
    attended = attended.view(num_kv_heads, groups, rows, shape.head_dim)
    return attended.permute(2, 0, 1, 3).reshape(rows, -1)
