"""A decoder layer over rows, whose attention is the caller's.

Decoding calls it over caches and training over packed texts, with gradients where weights ask for
them.
"""

from collections.abc import Callable

import torch

from core.backends.torch.activations import inner_of
from core.backends.torch.arithmetic import added, heads_of, normalized
from core.backends.torch.experts import add_experts
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Queries [rows, heads, head_dim], keys and values [rows, kv_heads, head_dim], all rotated already,
to what the rows read  # [rows, heads * head_dim]."""


def decoder_layer(
    shape: Architecture,
    weights: LayerWeights,
    x: torch.Tensor,  # [rows, hidden]
    normed: torch.Tensor,  # [rows, width of the layer's input]
    positions: torch.Tensor,  # [rows]
    rotation: tuple[torch.Tensor, torch.Tensor],  # [rotations, rows, 1, head_dim] both
    attend: Attend,
    *,
    has_one_shape: bool = False,
) -> torch.Tensor:
    """One decoder layer on the residual `x`, whose attention reads `normed`  # [rows, hidden].

    `rotation` is what `RotaryTable.at` gives for the positions; `has_one_shape` is for `add_experts`.
    """
    eps = shape.norm_eps
    attended = weights.o(attend(*layer_heads(shape, weights, normed, positions, rotation)))
    before = x
    x = added(shape, x, normalized(attended, weights.attention_out_norm, eps))
    read = before if shape.is_parallel else x
    fed = feed(shape, weights, normalized(read, weights.ffn_norm, eps), has_one_shape)
    return added(shape, x, normalized(fed, weights.ffn_out_norm, eps))


def layer_heads(
    shape: Architecture,
    weights: LayerWeights,
    normed: torch.Tensor,  # [rows, width of the layer's input]
    positions: torch.Tensor,  # [rows]
    rotation: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values of a layer, as `Attend` takes them."""
    kind = weights.kind
    cos, sin = rotation[0][kind.rotation], rotation[1][kind.rotation]
    product = weights.qkv(normed)
    return heads_of(shape, kind, product, weights.q_norm, weights.k_norm, cos, sin, positions)


def feed(
    shape: Architecture,
    weights: LayerWeights,
    x: torch.Tensor,  # [rows, hidden]
    has_one_shape: bool = False,
) -> torch.Tensor:
    """The feed-forward of normed rows, experts included  # [rows, hidden]."""
    inner, fed = inner_of(shape.activation, shape.is_gated), None
    if weights.gate_up is not None and weights.down is not None:
        fed = weights.down(inner(weights.gate_up(x)))
    if shape.experts is None or weights.router is None:
        assert fed is not None, "a layer has a feed-forward or experts"
        return fed
    return add_experts(weights, shape.experts, inner, x, fed, has_one_shape=has_one_shape)
