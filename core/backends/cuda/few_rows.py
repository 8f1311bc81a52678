"""The parts of a layer over few rows, in kernels of our own.

So few rows cost what it takes to read the weights. What lies beside the products is done on their
way: norms before them, gates, residuals and rotated heads behind them. Each part has the form of the
one that `core.backends.cuda.pieces` compiles.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.cuda.kernels.kernel import Following, Heads, Norm, multiply_rows, rows_at_once
from core.backends.cuda.kernels.linear import weight_of
from core.backends.cuda.kernels.variant import DENSE_BITS, ROWS, Weight
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture

Tensor = torch.Tensor
Part = Callable[..., Any]
# The two halves of a head are rotated in eights.
_HEAD_STEP = 16


class FewRows(NamedTuple):
    """A part, and the most rows that it is for."""

    most: int
    part: Part


class _Layer(NamedTuple):
    qkv: Weight
    o: Weight
    gate_up: Weight
    down: Weight


def few_before(
    shape: Architecture, layer: LayerWeights, state_norm: Tensor | None, rotate: Part
) -> FewRows | None:
    """Rows to the queries of a layer; None where the kernels cannot compute it.

    `rotate` takes products whose heads are normed, with norms and places.
    """
    weights = _weights(shape, layer)
    if weights is None:
        return None

    def before(x: Tensor, given: Tensor | None, *places: Tensor) -> Tensor:
        norm = Norm(_norm_of(layer.input_norm), shape.norm_eps)
        if given is None or state_norm is None:
            return _queries(shape, layer, weights, x, norm, places, rotate)
        rows = [_normed(x, norm), _normed(given, Norm(state_norm, shape.norm_eps))]
        return _queries(shape, layer, weights, torch.cat(rows, dim=-1), None, places, rotate)

    return FewRows(_most_rows(weights.qkv), before)


def few_after(shape: Architecture, layer: LayerWeights) -> FewRows | None:
    """What a layer does behind its attention; None where the kernels cannot compute it."""
    weights = _weights(shape, layer)
    if weights is None:
        return None

    def after(x: Tensor, attended: Tensor) -> Tensor:
        return _behind_attention(shape, layer, weights, x, attended, None)

    return FewRows(_most_rows(weights.o, weights.gate_up), after)


def few_between(
    shape: Architecture, layer: LayerWeights, following: LayerWeights, rotate: Part
) -> FewRows | None:
    """`few_after` of a layer and `few_before` of the one that follows it."""
    weights, next_weights = _weights(shape, layer), _weights(shape, following)
    if weights is None or next_weights is None:
        return None

    def between(x: Tensor, attended: Tensor, *places: Tensor) -> tuple[Tensor, Tensor]:
        x = _behind_attention(shape, layer, weights, x, attended, next_weights.qkv)
        norm = Norm(_norm_of(following.input_norm), shape.norm_eps)
        return x, _queries(shape, following, next_weights, x, norm, places, rotate)

    return FewRows(_most_rows(weights.o, weights.gate_up, next_weights.qkv), between)


def few_head(shape: Architecture, norm: Tensor, head: Any) -> FewRows | None:
    """Rows to logits in float32; None where the kernels cannot compute them."""
    weight = weight_of(head, norm.dtype)
    if weight is None:
        return None

    def lm_head(x: Tensor) -> Tensor:
        return multiply_rows(x, weight, norm=Norm(norm, shape.norm_eps)).float()

    return FewRows(_most_rows(weight), lm_head)


def _weights(shape: Architecture, layer: LayerWeights) -> _Layer | None:
    assert layer.gate_up is not None and layer.down is not None, "`beyond_llama` comes first"
    dtype = _norm_of(layer.input_norm).dtype
    linears = (layer.qkv, layer.o, layer.gate_up, layer.down)
    found = [weight for weight in (weight_of(each, dtype) for each in linears) if weight]
    if len(found) < len(linears) or shape.head_dim % _HEAD_STEP:
        return None
    return _Layer(*found)


def _norm_of(norm: Tensor | None) -> Tensor:
    assert norm is not None, "`beyond_llama` comes first"
    return norm


def _most_rows(*weights: Weight) -> int:
    """Rows that every weight is read for once; packed ones have no other kernel."""
    dense = [weight for weight in weights if weight.bits == DENSE_BITS]
    return min((rows_at_once(weight, weight.data.dtype) for weight in dense), default=ROWS[-1])


def _normed(x: Tensor, norm: Norm) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)


def _queries(
    shape: Architecture,
    layer: LayerWeights,
    weights: _Layer,
    x: Tensor,
    norm: Norm | None,
    places: tuple[Tensor, ...],
    rotate: Part,
) -> Tensor:
    """Rotated queries  # [rows, heads, dim]; keys and values go into the cache."""
    following = Following(weights.o)
    if layer.q_norm is not None:
        product = multiply_rows(x, weights.qkv, norm=norm, following=following)
        queries: Tensor = rotate(product, layer.q_norm, layer.k_norm, *places)
        return queries
    cos, sin, cache, slots = places
    heads = Heads(cos, sin, slots, cache, shape.num_heads)
    queries = multiply_rows(x, weights.qkv, norm=norm, heads=heads, following=following)
    return queries.view(len(x), shape.num_heads, shape.head_dim)


def _behind_attention(
    shape: Architecture,
    layer: LayerWeights,
    weights: _Layer,
    x: Tensor,
    attended: Tensor,
    next_weight: Weight | None,
) -> Tensor:
    gates = Following(weights.gate_up, is_gated=True)
    x = multiply_rows(attended, weights.o, residual=x, following=gates)
    gated = multiply_rows(
        x,
        weights.gate_up,
        norm=Norm(_norm_of(layer.ffn_norm), shape.norm_eps),
        is_gated=True,
        following=Following(weights.down),
    )
    down = weights.down
    if down.bits == DENSE_BITS and len(x) > rows_at_once(down, x.dtype):
        # It would read the weights several times.
        return x + F.linear(gated, down.data, down.bias)
    following = None if next_weight is None else Following(next_weight)
    return multiply_rows(gated, down, residual=x, following=following)
