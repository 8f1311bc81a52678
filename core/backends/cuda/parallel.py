"""A forward of several GPUs over rows whose places only the first of them knows.

All work on a layer at once, each on its own part, and add up what they have made twice a layer. Started
one after the other by one thread: none is waited for before all have been given the same work.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

from core.backends.cuda.attention import Attention, Rows
from core.backends.cuda.forward import keep_states_at, places_of
from core.backends.cuda.pieces import Pieces
from core.backends.kv_cache import TreeCache
from core.backends.torch.arithmetic import scaled_rows
from core.backends.torch.forward import TorchForward
from core.backends.torch.parallel import ParallelCache, ParallelForward

Tensors = list[torch.Tensor]


class Sums(Protocol):
    """Adds up what each device holds, in the devices' order, in float32."""

    def __call__(
        self, parts: Tensors, residuals: Tensors | None = None, scale: float = 1.0
    ) -> Tensors:
        """The sum, times the scale and with the residual where there is one, on every device."""
        ...


def add_on_host(parts: Tensors, residuals: Tensors | None = None, scale: float = 1.0) -> Tensors:
    """Implements Sums where all devices are one processor."""
    total = torch.zeros_like(parts[0], dtype=torch.float32)
    for part in parts:
        total += part
    if residuals is not None:
        total = residuals[0].float() + total * scale
    return [total.to(parts[0].dtype)] * len(parts)


class _Part:
    """What one device computes."""

    def __init__(self, forward: TorchForward, cache: TreeCache, attention: Attention):
        self.forward = forward
        self.cache = cache
        self.attention = attention
        self.device = cache.storage.device

    def at_work(self) -> AbstractContextManager[Any]:
        """Makes its device the one that kernels are started on."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()


class ParallelDeviceForward:
    """Implements `core.backends.cuda.forward.ComputesRows` for a ParallelForward, over its cache."""

    def __init__(
        self,
        forward: ParallelForward,
        cache: TreeCache,
        pieces: Pieces,
        attention_of: Callable[[TorchForward, torch.device], Attention],
        sums: Sums,
    ):
        assert isinstance(cache, ParallelCache), "ParallelRunner made it"
        self._forward = forward
        self._pieces = pieces
        self._sums = sums
        self._parts = [
            _Part(part, own, attention_of(part, own.storage.device))
            for part, own in zip(forward.parts, (cache, *cache.others), strict=True)
        ]
        self._cache = cache

    @property
    def dtype(self) -> torch.dtype:
        """See `ComputesRows.dtype`."""
        return self._cache.storage.dtype

    @torch.inference_mode()
    def __call__(
        self,
        rows: Rows,
        *,
        given: torch.Tensor | None = None,
        selected: torch.Tensor | None = None,
        want_logits: bool = True,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """See `ComputesRows`; what the layers made is the first device's."""
        assert given is None, "no head is shared out"
        forward, shape = self._forward, self._forward.shape
        x = scaled_rows(shape, forward.stack.embedding.rows(rows.token_ids))
        xs = [x.to(part.device) for part in self._parts]
        own_rows = [self._own_rows(rows, part.device) for part in self._parts]
        prepared, tables = [], []
        for part, own in self._each(own_rows):
            prepared.append(part.attention.prepare(own, part.cache.capacity))
            tables.append(part.forward.rotary.at(own.positions))
        stacks = [part.forward.stack.layers for part in self._parts]
        for index, layers in enumerate(zip(*stacks, strict=True)):
            next_layers = [own[index + 1 :][:1] or (None,) for own in stacks]
            keep_states_at(self._cache, index, xs[0], rows.slots)
            attended = []
            for part, layer, x, own, ready, table in self._each(
                layers, xs, own_rows, prepared, tables
            ):
                places, own_shape = places_of(part.cache, layer, table, own), part.forward.shape
                queries = self._pieces.before(own_shape, layer, None)(x, None, *places)
                heads = part.attention(layer, queries, places.storage, own, ready)
                attended.append(self._pieces.output(own_shape, layer)(heads))
            before = xs
            norms = [layer.attention_out_norm for layer in layers]
            xs = self._with_sum(xs, attended, norms)
            read = before if shape.is_parallel else xs
            fed = [
                self._pieces.feed(part.forward.shape, layer, *following)(x)
                for part, layer, following, x in self._each(layers, next_layers, read)
            ]
            xs = self._with_sum(xs, fed, [layer.ffn_out_norm for layer in layers])
        keep_states_at(self._cache, len(forward.stack.layers), xs[0], rows.slots)
        if not want_logits:
            return None, xs[0]
        logits = []
        for part, x in self._each(xs):
            chosen = x if selected is None else x.index_select(0, selected.to(part.device))
            stack = part.forward.stack
            logits.append(
                self._pieces.lm_head(part.forward.shape, stack.final_norm, stack.head)(chosen)
            )
        first = self._parts[0].device
        return torch.cat([part.to(first) for part in logits], dim=-1), xs[0]

    def _each(self, *values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """The parts, each with its own of the values and its device at work."""
        for own in zip(self._parts, *values, strict=True):
            with own[0].at_work():
                yield own

    def _own_rows(self, rows: Rows, device: torch.device) -> Rows:
        """The rows' places on a device, in one copy; tokens stay where the embedding is."""
        if device == rows.start.device:
            return rows
        fields = [rows.positions, rows.slots, rows.start, rows.tree.flatten(), rows.tree_positions]
        if rows.origin is not None:
            fields.append(rows.origin)
        packed = torch.cat([field.long() for field in fields]).to(device)
        positions, slots, start, tree, *others = torch.split(
            packed, [len(field) for field in fields]
        )
        return Rows(
            rows.token_ids, positions, slots, start, tree.view(rows.tree.shape).bool(), *others
        )

    def _with_sum(
        self, xs: Tensors, parts: Tensors, norms: Sequence[torch.Tensor | None]
    ) -> Tensors:
        """The residual with what the parts add up to."""
        shape = self._forward.shape
        if norms[0] is None:
            return self._sums(parts, xs, shape.residual_scale)
        add = self._pieces.add(shape)
        totals = self._sums(parts)
        return [add(x, total, norm) for _, x, total, norm in self._each(xs, totals, norms)]
