"""What a layer computes beside its products and its attention, as functions of tensors.

The eager forward and the compiled parts for CUDA (`core.backends.cuda.pieces`) are made of them.
"""

import torch
import torch.nn.functional as F

from core.families.architecture import Architecture, LayerKind


def normalized(x: torch.Tensor, norm: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Over the last dimension: by an RMS norm's factors [size], or by what a layer norm multiplies and
    adds [2, size]; without a norm, x itself."""
    if norm is None:
        return x
    if norm.dtype != x.dtype:  # of a norm that is counted from one, or one in training
        return normalized(x.float(), norm.float(), eps).to(x.dtype)
    if norm.dim() == 2:
        return F.layer_norm(x, x.shape[-1:], norm[0], norm[1], eps)
    return F.rms_norm(x, x.shape[-1:], norm, eps)


def scaled_rows(
    shape: Architecture,
    x: torch.Tensor,  # [rows, hidden]
) -> torch.Tensor:
    """Rows of the embedding as the first layer reads them  # [rows, hidden]."""
    if shape.embedding_scale == 1.0:
        return x
    # Rounded first, as transformers has it.
    return x * torch.tensor(shape.embedding_scale, dtype=x.dtype)


def added(shape: Architecture, x: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """The residual with what a part of a layer makes  # [rows, hidden]."""
    if shape.residual_scale == 1.0:
        return x + part
    return x + part * shape.residual_scale


def heads_of(
    shape: Architecture,
    kind: LayerKind,
    product: torch.Tensor,  # [rows, (heads + 2 * kv_heads) * dim]
    q_norm: torch.Tensor | None,
    k_norm: torch.Tensor | None,
    cos: torch.Tensor,  # [rows, 1, dim]
    sin: torch.Tensor,  # [rows, 1, dim]
    positions: torch.Tensor,  # [rows]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values as attention takes them.

    Returns [rows, heads, dim], and [rows, kv_heads, dim] both
    """
    num_heads, num_kv_heads = shape.num_heads, shape.num_kv_heads
    qkv = product.view(product.shape[0], num_heads + 2 * num_kv_heads, shape.head_dim)
    qk, values = qkv[:, : num_heads + num_kv_heads], qkv[:, num_heads + num_kv_heads :]
    if q_norm is not None and k_norm is not None:
        q_normed = _head_norm(qk[:, :num_heads], q_norm, shape.norm_eps)
        k_normed = _head_norm(qk[:, num_heads:], k_norm, shape.norm_eps)
        qk = torch.cat([q_normed, k_normed], dim=1)
    qk = torch.addcmul(qk * cos, qk.roll(shape.head_dim // 2, dims=-1), sin)
    if kind.norms_rotated:
        qk = F.rms_norm(qk, (shape.head_dim,), eps=shape.norm_eps)
    queries, keys = qk[:, :num_heads], qk[:, num_heads:]
    if kind.temperature is not None:
        rise, floor = kind.temperature
        factors = torch.log1p(torch.floor((positions.float() + 1.0) / floor)) * rise + 1.0
        queries = (queries * factors[:, None, None]).to(qk.dtype)
    return queries, keys, values


def _head_norm(
    heads: torch.Tensor,  # [rows, heads, dim]
    norm: torch.Tensor,  # [dim] or [heads * dim], or two of these
    eps: float,
) -> torch.Tensor:
    """Heads normed each for itself, or all together  # [rows, heads, dim]."""
    if norm.shape[-1] == heads.shape[-1]:
        return normalized(heads, norm, eps)
    return normalized(heads.flatten(1), norm, eps).view(heads.shape)


def bounded_logits(
    shape: Architecture,
    logits: torch.Tensor,  # [rows, vocab]
) -> torch.Tensor:
    """What the head makes, scaled and softly capped, in place where it can be  # [rows, vocab]."""
    if shape.logit_scale != 1.0:
        logits = logits * shape.logit_scale
    if shape.logit_cap is not None:
        logits = logits.div(shape.logit_cap).tanh_().mul_(shape.logit_cap)
    return logits
