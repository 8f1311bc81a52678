"""The parts of a layer between two attentions, compiled once for layers of one kind.

Few rows go through kernels of our own where there are some for the layer
(`core.backends.cuda.few_rows`).
A compiled part is a function of tensors alone, so that torch.compile makes it once for all layers whose
linears have the same format: what it fuses is everything from one attention's output to the next
one's queries. Writing the cache and attending stand between the
parts, for they change what a part may only read.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch

from core.backends.cuda.few_rows import (
    FewRows,
    few_after,
    few_before,
    few_between,
    few_feed,
    few_head,
    few_output,
)
from core.backends.torch.activations import inner_of
from core.backends.torch.arithmetic import added, bounded_logits, heads_of, normalized
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture, LayerKind

Tensor = torch.Tensor
# One function serves many formats and numbers of rows; torch gives up after 8 unless told.
_MOST_VARIANTS = 4096
# Tuning takes half a minute, which narrow rows, bound by launches, do not earn.
_LEAST_TUNED_WIDTH = 2048
_TUNED: dict[str, str | int | bool | Callable[..., Any]] = {"coordinate_descent_tuning": True}


class Pieces:
    """Makes and keeps the compiled parts of all stacks over one shape of attention."""

    def __init__(self, *, compile: bool):
        self.is_compiled = compile
        self._made: dict[Hashable, Callable[..., Any]] = {}

    def before(
        self, shape: Architecture, layer: LayerWeights, state_norm: Tensor | None
    ) -> Callable[..., Tensor]:
        """Rows to the queries of a layer: (x, given, *places)."""
        qkv = _tensor_linear(layer.qkv)
        function = self._get(_before, shape, _rotated_as(layer), qkv.product)
        arguments = layer.input_norm, state_norm, layer.q_norm, layer.k_norm, *qkv.tensors
        return _by_rows(
            few_before(shape, layer, state_norm, self._rotate(shape, layer)),
            lambda x, given, *places: function(x, given, *places, *arguments),
        )

    def after(self, shape: Architecture, layer: LayerWeights) -> Callable[..., Tensor]:
        """What a layer does behind its attention: (x, attended) to x."""
        parts = [_tensor_linear(part) for part in (layer.o, layer.gate_up, layer.down)]
        function = self._get(_after, shape, *(part.product for part in parts))
        tensors = [part.tensors for part in parts]
        return _by_rows(
            few_after(shape, layer, self._get(_add, shape)),
            lambda x, attended: function(x, attended, _inner_norms(layer), *tensors),
        )

    def between(
        self, shape: Architecture, layer: LayerWeights, following: LayerWeights
    ) -> Callable[..., tuple[Tensor, Tensor]]:
        """`after` of a layer and `before` of the one that follows it, as one: (x, attended,
        *places) to x and queries."""
        parts = [
            _tensor_linear(part) for part in (layer.o, layer.gate_up, layer.down, following.qkv)
        ]
        products = [part.product for part in parts]
        function = self._get(_between, shape, _rotated_as(following), *products)
        tensors = [part.tensors for part in parts]
        norms = following.input_norm, following.q_norm, following.k_norm
        return _by_rows(
            few_between(
                shape, layer, following, self._get(_add, shape), self._rotate(shape, following)
            ),
            lambda x, attended, *places: function(
                x, attended, *places, _inner_norms(layer), norms, *tensors
            ),
        )

    def output(self, shape: Architecture, layer: LayerWeights) -> Callable[[Tensor], Tensor]:
        """Attended rows to what `o` makes of them, which is not added to anything yet."""
        return _by_rows(few_output(shape, layer), layer.o)

    def feed(
        self, shape: Architecture, layer: LayerWeights, next_layer: LayerWeights | None
    ) -> Callable[[Tensor], Tensor]:
        """The residual to what the feed-forward makes of it, which is not added to anything yet; another
        layer may come next."""
        parts = [_tensor_linear(part) for part in (layer.gate_up, layer.down)]
        function = self._get(_feed, shape, *(part.product for part in parts))
        tensors = [part.tensors for part in parts]
        return _by_rows(
            few_feed(shape, layer, next_layer), lambda x: function(x, layer.ffn_norm, *tensors)
        )

    def add(self, shape: Architecture) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """The residual with a part of a layer: (x, part, norm of the part)."""
        return self._get(_add, shape)

    def lm_head(self, shape: Architecture, norm: Tensor, head: Any) -> Callable[[Tensor], Tensor]:
        """Rows to logits in float32."""
        linear = _tensor_linear(head)
        function = self._get(_lm_head, shape, linear.product)
        return _by_rows(
            few_head(shape, norm, head, self._get(_bound, shape)),
            lambda x: function(x, norm, *linear.tensors),
        )

    def _rotate(self, shape: Architecture, layer: LayerWeights) -> Callable[..., Tensor]:
        """Products to queries, for heads that are not rotated alone."""
        return self._get(_rotate, shape, _rotated_as(layer))

    def _get(
        self, make: Callable[..., Callable[..., Any]], shape: Architecture, *parts: Any
    ) -> Callable[..., Any]:
        key = (make, shape, parts)
        if key not in self._made:
            self._made[key] = self._compiled(make(shape, *parts))
        return self._made[key]

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self.is_compiled:
            return function
        # One wide row, where no kernel of ours takes it, reads weights and does nothing else: products
        # as tuned sums come nearer to the memory's bandwidth than the library's. All other rows share
        # one form.
        single = torch.compile(function, fullgraph=True, options=_TUNED)
        several = torch.compile(function, fullgraph=True)

        def call(x: Tensor, *arguments: Any) -> Any:
            with torch._dynamo.config.patch(
                recompile_limit=_MOST_VARIANTS, accumulated_recompile_limit=_MOST_VARIANTS
            ):
                if x.shape[0] == 1 and x.shape[1] >= _LEAST_TUNED_WIDTH:
                    return single(x, *arguments)
                if x.shape[0] > 1:
                    torch._dynamo.maybe_mark_dynamic(x, 0)
                return several(x, *arguments)

        return call


def _by_rows(few: FewRows | None, compiled: Callable[..., Any]) -> Callable[..., Any]:
    if few is None:
        return compiled

    def part(x: Tensor, *arguments: Any) -> Any:
        return (few.part if x.shape[0] <= few.most else compiled)(x, *arguments)

    return part


class _Product(NamedTuple):
    product: Callable[..., Tensor]
    tensors: tuple[Tensor | None, ...]


def _tensor_linear(linear: Any) -> _Product:
    """A layer that is no function of tensors is one of rows alone: right, but of its own kind."""
    if hasattr(linear, "product"):
        return _Product(linear.product, linear.tensors)
    return _Product(linear, ())


def _rotated_as(layer: LayerWeights) -> LayerKind:
    """The kind of a layer without what places and attention know of it."""
    return layer.kind._replace(window=None, chunk=None, rotation=0)


def _inner_norms(layer: LayerWeights) -> tuple[Tensor | None, ...]:
    return layer.attention_out_norm, layer.ffn_norm, layer.ffn_out_norm


def _queries(
    shape: Architecture, kind: LayerKind, product: Tensor, q_norm: Tensor | None, k_norm: Tensor | None,
    cos: Tensor, sin: Tensor, positions: Tensor, storage: Tensor, slots: Tensor,
) -> Tensor:  # fmt: skip
    """Rotated queries  # [rows, heads, dim]; keys and values go into the layer's cache."""
    queries, keys, values = heads_of(shape, kind, product, q_norm, k_norm, cos, sin, positions)
    storage.index_copy_(2, slots, torch.stack([keys, values]).transpose(1, 2))
    return queries.contiguous()


def _rotate(shape: Architecture, kind: LayerKind) -> Callable[..., Any]:
    def rotate(
        product: Tensor, q_norm: Tensor | None, k_norm: Tensor | None, *places: Tensor
    ) -> Tensor:
        return _queries(shape, kind, product, q_norm, k_norm, *places)

    return rotate


def _before(shape: Architecture, kind: LayerKind, qkv: Callable[..., Tensor]) -> Callable[..., Any]:
    def before(
        x: Tensor, given: Tensor | None, cos: Tensor, sin: Tensor, positions: Tensor, storage: Tensor,
        slots: Tensor, input_norm: Tensor | None, state_norm: Tensor | None,
        q_norm: Tensor | None, k_norm: Tensor | None, *tensors: Tensor,
    ) -> Tensor:  # fmt: skip
        rows = normalized(x, input_norm, shape.norm_eps)
        if given is not None and state_norm is not None:
            rows = torch.cat([rows, normalized(given, state_norm, shape.norm_eps)], dim=-1)
        product = qkv(rows, *tensors)
        return _queries(shape, kind, product, q_norm, k_norm, cos, sin, positions, storage, slots)

    return before


def _add(shape: Architecture) -> Callable[..., Any]:
    def add(x: Tensor, part: Tensor, out_norm: Tensor | None) -> Tensor:
        return added(shape, x, normalized(part, out_norm, shape.norm_eps))

    return add


def _fed(
    shape: Architecture, x: Tensor, norm: Tensor | None, gate_up: Any, down: Any, gate_up_tensors: Any,
    down_tensors: Any,
) -> Tensor:  # fmt: skip
    inner = inner_of(shape.activation, shape.is_gated)
    product = gate_up(normalized(x, norm, shape.norm_eps), *gate_up_tensors)
    return down(inner(product), *down_tensors)  # type: ignore[no-any-return]


def _feed(shape: Architecture, *products: Any) -> Callable[..., Any]:
    def feed(x: Tensor, norm: Tensor | None, *tensors: Any) -> Tensor:
        return _fed(shape, x, norm, *products, *tensors)

    return feed


def _behind_attention(
    shape: Architecture, x: Tensor, attended: Tensor, norms: Any, o: Any, gate_up: Any, down: Any,
    o_tensors: Any, gate_up_tensors: Any, down_tensors: Any,
) -> Tensor:  # fmt: skip
    attention_out_norm, ffn_norm, ffn_out_norm = norms
    add, before = _add(shape), x
    x = add(x, o(attended, *o_tensors), attention_out_norm)
    read = before if shape.is_parallel else x
    fed = _fed(shape, read, ffn_norm, gate_up, down, gate_up_tensors, down_tensors)
    return add(x, fed, ffn_out_norm)  # type: ignore[no-any-return]


def _after(shape: Architecture, *products: Any) -> Callable[..., Any]:
    def after(x: Tensor, attended: Tensor, norms: Any, *tensors: Any) -> Tensor:
        return _behind_attention(shape, x, attended, norms, *products, *tensors)

    return after


def _between(shape: Architecture, kind: LayerKind, *products: Any) -> Callable[..., Any]:
    *inner, qkv = products

    def between(
        x: Tensor, attended: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, storage: Tensor,
        slots: Tensor, inner_norms: Any, norms: Any, *tensors: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        *inner_tensors, qkv_tensors = tensors
        input_norm, q_norm, k_norm = norms
        x = _behind_attention(shape, x, attended, inner_norms, *inner, *inner_tensors)
        product = qkv(normalized(x, input_norm, shape.norm_eps), *qkv_tensors)
        places = cos, sin, positions, storage, slots
        return x, _queries(shape, kind, product, q_norm, k_norm, *places)

    return between


def _bound(shape: Architecture) -> Callable[..., Any]:
    def bound(logits: Tensor) -> Tensor:
        return bounded_logits(shape, logits).float()

    return bound


def _lm_head(shape: Architecture, head: Any) -> Callable[..., Any]:
    bound = _bound(shape)

    def lm_head(x: Tensor, norm: Tensor, *tensors: Tensor) -> Tensor:
        logits: Tensor = bound(head(normalized(x, norm, shape.norm_eps), *tensors))
        return logits

    return lm_head
