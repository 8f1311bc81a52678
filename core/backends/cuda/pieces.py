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
import torch.nn.functional as F

from core.backends.cuda.few_rows import FewRows, few_after, few_before, few_between, few_head
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture

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
        """Rows to the queries of a layer: (x, given, cos, sin, cache, slots)."""
        qkv = _tensor_linear(layer.qkv)
        function = self._get(_before, shape, qkv.product)
        arguments = layer.input_norm, state_norm, layer.q_norm, layer.k_norm, *qkv.tensors
        return _by_rows(
            few_before(shape, layer, state_norm, self._rotate(shape)),
            lambda x, given, *places: function(x, given, *places, *arguments),
        )

    def after(self, shape: Architecture, layer: LayerWeights) -> Callable[..., Tensor]:
        """What a layer does behind its attention: (x, attended) to x."""
        parts = [_tensor_linear(part) for part in (layer.o, layer.gate_up, layer.down)]
        function = self._get(_after, shape, *(part.product for part in parts))
        tensors = [part.tensors for part in parts]
        return _by_rows(
            few_after(shape, layer),
            lambda x, attended: function(x, attended, layer.ffn_norm, *tensors),
        )

    def between(
        self, shape: Architecture, layer: LayerWeights, following: LayerWeights
    ) -> Callable[..., tuple[Tensor, Tensor]]:
        """`after` of a layer and `before` of the one that follows it, as one: (x, attended, cos,
        sin, cache, slots) to x and queries."""
        parts = [
            _tensor_linear(part) for part in (layer.o, layer.gate_up, layer.down, following.qkv)
        ]
        function = self._get(_between, shape, *(part.product for part in parts))
        tensors = [part.tensors for part in parts]
        norms = layer.ffn_norm, following.input_norm, following.q_norm, following.k_norm
        return _by_rows(
            few_between(shape, layer, following, self._rotate(shape)),
            lambda x, attended, *places: function(x, attended, *places, norms, *tensors),
        )

    def lm_head(self, shape: Architecture, norm: Tensor, head: Any) -> Callable[[Tensor], Tensor]:
        """Rows to logits in float32."""
        linear = _tensor_linear(head)
        function = self._get(_lm_head, shape, linear.product)
        return _by_rows(few_head(shape, norm, head), lambda x: function(x, norm, *linear.tensors))

    def _rotate(self, shape: Architecture) -> Callable[..., Tensor]:
        """Products to queries, for heads that are normed."""
        return self._get(_rotate, shape)

    def _get(
        self, make: Callable[..., Callable[..., Any]], shape: Architecture, *products: Any
    ) -> Callable[..., Any]:
        key = (make, shape, products)
        if key not in self._made:
            self._made[key] = self._compiled(make(shape, *products))
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


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def _queries(
    shape: Architecture, qkv: Tensor, q_norm: Tensor | None, k_norm: Tensor | None,
    cos: Tensor, sin: Tensor, cache: Tensor, slots: Tensor,
) -> Tensor:  # fmt: skip
    """Rotated queries  # [rows, heads, dim]; keys and values go into the layer's cache, which is
    [2, kv_heads, capacity, dim]."""
    num_heads, num_kv_heads = shape.num_heads, shape.num_kv_heads
    heads = qkv.view(qkv.shape[0], num_heads + 2 * num_kv_heads, shape.head_dim)
    queries, keys = heads[:, :num_heads], heads[:, num_heads : num_heads + num_kv_heads]
    values = heads[:, num_heads + num_kv_heads :]
    if q_norm is not None and k_norm is not None:
        queries = _norm(queries, q_norm, shape.norm_eps)
        keys = _norm(keys, k_norm, shape.norm_eps)
    half = shape.head_dim // 2
    queries = queries * cos + queries.roll(half, dims=-1) * sin
    keys = keys * cos + keys.roll(half, dims=-1) * sin
    cache.index_copy_(2, slots, torch.stack([keys, values]).transpose(1, 2))
    return queries.contiguous()


def _rotate(shape: Architecture) -> Callable[..., Any]:
    def rotate(
        product: Tensor, q_norm: Tensor | None, k_norm: Tensor | None,
        cos: Tensor, sin: Tensor, cache: Tensor, slots: Tensor,
    ) -> Tensor:  # fmt: skip
        return _queries(shape, product, q_norm, k_norm, cos, sin, cache, slots)

    return rotate


def _before(shape: Architecture, qkv: Callable[..., Tensor]) -> Callable[..., Any]:
    def before(
        x: Tensor, given: Tensor | None, cos: Tensor, sin: Tensor, cache: Tensor, slots: Tensor,
        input_norm: Tensor, state_norm: Tensor | None,
        q_norm: Tensor | None, k_norm: Tensor | None, *tensors: Tensor,
    ) -> Tensor:  # fmt: skip
        rows = _norm(x, input_norm, shape.norm_eps)
        if given is not None and state_norm is not None:
            rows = torch.cat([rows, _norm(given, state_norm, shape.norm_eps)], dim=-1)
        product = qkv(rows, *tensors)
        return _queries(shape, product, q_norm, k_norm, cos, sin, cache, slots)

    return before


def _feed_forward(
    shape: Architecture, x: Tensor, ffn_norm: Tensor, gate_up: Any, down: Any,
    gate_up_tensors: Any, down_tensors: Any,
) -> Tensor:  # fmt: skip
    gate, up = gate_up(_norm(x, ffn_norm, shape.norm_eps), *gate_up_tensors).chunk(2, dim=-1)
    return x + down(F.silu(gate) * up, *down_tensors)  # type: ignore[no-any-return]


def _after(shape: Architecture, o: Any, gate_up: Any, down: Any) -> Callable[..., Any]:
    def after(
        x: Tensor, attended: Tensor, ffn_norm: Tensor,
        o_tensors: Any, gate_up_tensors: Any, down_tensors: Any,
    ) -> Tensor:  # fmt: skip
        x = x + o(attended, *o_tensors)
        return _feed_forward(shape, x, ffn_norm, gate_up, down, gate_up_tensors, down_tensors)

    return after


def _between(shape: Architecture, o: Any, gate_up: Any, down: Any, qkv: Any) -> Callable[..., Any]:
    def between(
        x: Tensor, attended: Tensor, cos: Tensor, sin: Tensor, cache: Tensor, slots: Tensor,
        norms: Any, o_tensors: Any, gate_up_tensors: Any, down_tensors: Any, qkv_tensors: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ffn_norm, input_norm, q_norm, k_norm = norms
        x = x + o(attended, *o_tensors)
        x = _feed_forward(shape, x, ffn_norm, gate_up, down, gate_up_tensors, down_tensors)
        product = qkv(_norm(x, input_norm, shape.norm_eps), *qkv_tensors)
        return x, _queries(shape, product, q_norm, k_norm, cos, sin, cache, slots)

    return between


def _lm_head(shape: Architecture, head: Any) -> Callable[..., Any]:
    def lm_head(x: Tensor, norm: Tensor, *tensors: Tensor) -> Tensor:
        logits: Tensor = head(_norm(x, norm, shape.norm_eps), *tensors).float()
        return logits

    return lm_head
