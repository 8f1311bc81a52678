"""The parts of a layer over few rows, in kernels of our own.

So few rows cost what it takes to read the weights. What lies beside the products is done on their
way: norms before them, gates, residuals and rotated heads behind them; a norm behind a product, which
needs whole rows of it, before the next one. Each part has the form of the one that
`core.backends.cuda.pieces` compiles.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.cuda.kernels.kernel import (
    GATE_ENDINGS,
    Addend,
    Following,
    Heads,
    Norm,
    Residual,
    multiply_rows,
    rows_at_once,
)
from core.backends.cuda.kernels.linear import weight_of
from core.backends.cuda.kernels.variant import DENSE_BITS, ROWS, Weight
from core.backends.cuda.places import Places
from core.backends.torch.arithmetic import normalized
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

    `rotate` takes products whose heads are not rotated alone, with norms and places.
    """
    weights = _weights(shape, layer)
    if weights is None:
        return None

    def before(x: Tensor, given: Tensor | None, *places: Any) -> Tensor:
        norm, rows = layer.input_norm, x
        if given is not None and state_norm is not None:
            eps = shape.norm_eps
            rows = torch.cat([normalized(x, norm, eps), normalized(given, state_norm, eps)], dim=-1)
            norm = None
        return _queries(shape, layer, weights, _Stream(rows), norm, Places(*places), rotate)

    return FewRows(_most_rows(weights.qkv), before)


def few_after(shape: Architecture, layer: LayerWeights, add: Part) -> FewRows | None:
    """What a layer does behind its attention; None where the kernels cannot compute it.

    `add` takes the residual, a part that is not added on its way, and its norm.
    """
    weights = _weights(shape, layer)
    if weights is None:
        return None

    def after(x: Tensor, attended: Tensor) -> Tensor:
        stream = _behind_attention(shape, layer, weights, x, attended, None, add)
        if stream.addend is None:
            return stream.x
        found: Tensor = add(stream.x, stream.addend.rows, layer.ffn_out_norm)
        return found

    return FewRows(_most_rows(weights.o, weights.gate_up), after)


def few_between(
    shape: Architecture, layer: LayerWeights, following: LayerWeights, add: Part, rotate: Part
) -> FewRows | None:
    """`few_after` of a layer and `few_before` of the one that follows it."""
    weights, next_weights = _weights(shape, layer), _weights(shape, following)
    if weights is None or next_weights is None:
        return None

    def between(x: Tensor, attended: Tensor, *places: Any) -> tuple[Tensor, Tensor]:
        stream = _behind_attention(shape, layer, weights, x, attended, next_weights.qkv, add)
        norm = following.input_norm
        queries = _queries(shape, following, next_weights, stream, norm, Places(*places), rotate)
        return stream.total, queries

    return FewRows(_most_rows(weights.o, weights.gate_up, next_weights.qkv), between)


def few_output(shape: Architecture, layer: LayerWeights) -> FewRows | None:
    """What a layer's `o` makes of attended rows; None where the kernels cannot compute it."""
    weights = _weights(shape, layer)
    if weights is None:
        return None
    following = Following(weights.gate_up, is_gated=True)
    return FewRows(
        _most_rows(weights.o),
        lambda attended: multiply_rows(attended, weights.o, following=following),
    )


def few_feed(
    shape: Architecture, layer: LayerWeights, next_layer: LayerWeights | None
) -> FewRows | None:
    """What a layer's feed-forward makes of the residual, in front of another layer or of none; None
    where the kernels cannot compute it."""
    weights = _weights(shape, layer)
    if weights is None:
        return None
    next_weights = None if next_layer is None else _weights(shape, next_layer)
    following = None if next_weights is None else Following(next_weights.qkv)

    def feed(x: Tensor) -> Tensor:
        gated = _gated(shape, layer, weights, _Stream(x))
        down = weights.down
        if _is_read_often(down, x):
            return F.linear(gated, down.data, down.bias)
        return multiply_rows(gated, down, following=following)

    return FewRows(_most_rows(weights.gate_up), feed)


def few_head(shape: Architecture, norm: Tensor, head: Any, bound: Part) -> FewRows | None:
    """Rows to logits in float32; None where the kernels cannot compute them.

    `bound` takes what the head makes.
    """
    weight = weight_of(head)
    if weight is None or not _can_norm(weight, norm):
        return None

    def lm_head(x: Tensor) -> Tensor:
        logits: Tensor = bound(multiply_rows(x, weight, norm=Norm(norm, shape.norm_eps)))
        return logits

    return FewRows(_most_rows(weight), lm_head)


def _weights(shape: Architecture, layer: LayerWeights) -> _Layer | None:
    if shape.activation not in GATE_ENDINGS or shape.head_dim % _HEAD_STEP:
        return None
    if (
        not shape.is_gated
        or shape.is_parallel
        or any(map(_is_layer_norm, layer.vectors().values()))
    ):
        return None
    linears = (layer.qkv, layer.o, layer.gate_up, layer.down)
    found = [weight for weight in map(weight_of, linears) if weight is not None]
    if len(found) < len(linears):
        return None
    weights = _Layer(*found)
    can_norm = _can_norm(weights.qkv, layer.input_norm)
    return weights if can_norm and _can_norm(weights.gate_up, layer.ffn_norm) else None


def _can_norm(weight: Weight, norm: Tensor | None) -> bool:
    """Rows are divided by their length last: float16 beside large factors could overflow before."""
    if norm is None:
        return True
    is_large = norm.dtype == torch.float32 and weight.data.dtype == torch.float16
    return not is_large and not _is_layer_norm(norm)


def _is_layer_norm(vector: Tensor) -> bool:
    return vector.dim() == 2


def _most_rows(*weights: Weight) -> int:
    """Rows that every weight is read for once; packed ones have no other kernel."""
    dense = [weight for weight in weights if weight.bits == DENSE_BITS]
    return min((rows_at_once(weight, weight.data.dtype) for weight in dense), default=ROWS[-1])


class _Stream(NamedTuple):
    """The residual, and what the next product adds to it on its way."""

    x: Tensor  # [rows, hidden]
    addend: Addend | None = None

    @property
    def total(self) -> Tensor:
        """Both, once the next product was computed  # [rows, hidden]."""
        return self.x if self.addend is None else self.addend.totals

    def times(
        self, weight: Weight, norm: Tensor | None, shape: Architecture, **ending: Any
    ) -> Tensor:
        """The next product, of normed rows  # [rows, outputs]."""
        own = None if norm is None else Norm(norm, shape.norm_eps)
        return multiply_rows(self.x, weight, norm=own, addend=self.addend, **ending)


def _queries(
    shape: Architecture,
    layer: LayerWeights,
    weights: _Layer,
    stream: _Stream,
    norm: Tensor | None,
    places: Places,
    rotate: Part,
) -> Tensor:
    """Rotated queries  # [rows, heads, dim]; keys and values go into the cache."""
    following, kind = Following(weights.o), layer.kind
    if layer.q_norm is not None or kind.norms_rotated or kind.temperature is not None:
        product = stream.times(weights.qkv, norm, shape, following=following)
        queries: Tensor = rotate(product, layer.q_norm, layer.k_norm, *places)
        return queries
    heads = Heads(places, shape.num_heads)
    queries = stream.times(weights.qkv, norm, shape, heads=heads, following=following)
    return queries.view(len(queries), shape.num_heads, shape.head_dim)


def _behind_attention(
    shape: Architecture,
    layer: LayerWeights,
    weights: _Layer,
    x: Tensor,
    attended: Tensor,
    next_weight: Weight | None,
    add: Part,
) -> _Stream:
    gates = Following(weights.gate_up, is_gated=True)
    stream = _with_product(shape, x, attended, weights.o, layer.attention_out_norm, gates)
    down, out_norm = weights.down, layer.ffn_out_norm
    gated = _gated(shape, layer, weights, stream)
    if _is_read_often(down, x):
        return _Stream(add(stream.total, F.linear(gated, down.data, down.bias), out_norm))
    following = None if next_weight is None else Following(next_weight)
    return _with_product(shape, stream.total, gated, down, out_norm, following)


def _gated(shape: Architecture, layer: LayerWeights, weights: _Layer, stream: _Stream) -> Tensor:
    """What `down` reads  # [rows, inner]"""
    following = Following(weights.down)
    return stream.times(
        weights.gate_up, layer.ffn_norm, shape, gate=shape.activation, following=following
    )


def _is_read_often(weight: Weight, x: Tensor) -> bool:
    """Whether the kernel would read a dense weight several times for so many rows."""
    return weight.bits == DENSE_BITS and len(x) > rows_at_once(weight, x.dtype)


def _with_product(
    shape: Architecture,
    x: Tensor,
    rows: Tensor,
    weight: Weight,
    out_norm: Tensor | None,
    following: Following | None,
) -> _Stream:
    """The residual with a product, added on its way; where a norm comes between, on the next one's."""
    if out_norm is None:
        residual = Residual(x, shape.residual_scale)
        return _Stream(multiply_rows(rows, weight, residual=residual, following=following))
    product = multiply_rows(rows, weight, following=following)
    norm = Norm(out_norm, shape.norm_eps)
    return _Stream(x, Addend(product, norm, shape.residual_scale, torch.empty_like(product)))
