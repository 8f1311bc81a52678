"""A forward over rows whose places only the device knows, without any word from the host.

It computes what `core.backends.torch.forward` computes, over the same weights and the same cache;
what is different is that the shapes are static, so that a captured graph can do it again for every step.
"""

from typing import Protocol

import torch

from core.backends.cuda.attention import Attention, Rows
from core.backends.cuda.pieces import Pieces
from core.backends.cuda.places import Places
from core.backends.kv_cache import TreeCache
from core.backends.runner import TargetForward
from core.backends.torch.arithmetic import scaled_rows
from core.backends.torch.forward import TorchForward
from core.backends.torch.weights import LayerWeights


def reason_against(forward: TargetForward) -> str | None:
    """Why the device cannot compute a forward alone; None where it can."""
    if not isinstance(forward, TorchForward):
        return "it is no forward of ours"
    if forward.num_token_ids < forward.shape.vocab_size:
        return "some tokens have no embedding, which the device would have to ask for"
    if forward.shape.experts is not None:
        return "which experts compute a row is decided on the host"
    return None


class ComputesRows(Protocol):
    """A forward over rows that stand in a cache of its own."""

    @property
    def dtype(self) -> torch.dtype:
        """Of rows and cache."""
        ...

    def __call__(
        self,
        rows: Rows,
        *,
        given: torch.Tensor | None = None,  # [rows, hidden]
        selected: torch.Tensor | None = None,  # [some]
        want_logits: bool = True,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Logits of the `selected` rows, else of all, in float32, and what the layers made of all.

        An EAGLE head's rows come with `given` states. Returns [rows, vocab] or None, and [rows, hidden].
        """
        ...


class DeviceForward:
    """Implements ComputesRows: one stack of weights over one cache."""

    def __init__(
        self,
        forward: TorchForward,
        cache: TreeCache,
        pieces: Pieces,
        attention: Attention,
    ):
        """With a `state_norm` of the forward it is an EAGLE-3 head's, whose rows come with given
        states."""
        self._forward = forward
        self._cache = cache
        self._pieces = pieces
        self._attention = attention
        self._state_norm = forward.state_norm

    @property
    def dtype(self) -> torch.dtype:
        """Of rows and cache."""
        return self._cache.storage.dtype

    @torch.inference_mode()
    def __call__(
        self,
        rows: Rows,
        *,
        given: torch.Tensor | None = None,  # [rows, hidden]
        selected: torch.Tensor | None = None,  # [some]
        want_logits: bool = True,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """See `ComputesRows`."""
        forward, cache = self._forward, self._cache
        shape, stack = forward.shape, forward.stack
        tables = forward.rotary.at(rows.positions)
        prepared = self._attention.prepare(rows, cache.capacity)
        x = scaled_rows(shape, stack.embedding.rows(rows.token_ids))
        layers = iter(stack.layers)
        layer = next(layers)
        places = places_of(cache, layer, tables, rows)
        before = self._pieces.before(shape, layer, self._state_norm)
        queries = before(x, given, *places)
        if given is not None:
            x = given
        index = 0
        while True:
            keep_states_at(cache, index, x, rows.slots)
            attended = self._attention(layer, queries, places.storage, rows, prepared)
            index += 1
            following = next(layers, None)
            if following is None:
                x = self._pieces.after(shape, layer)(x, attended)
                break
            between = self._pieces.between(shape, layer, following)
            layer, places = following, places_of(cache, following, tables, rows)
            x, queries = between(x, attended, *places)
        keep_states_at(cache, index, x, rows.slots)
        if not want_logits:
            return None, x
        chosen = x if selected is None else x.index_select(0, selected)
        return self._pieces.lm_head(shape, stack.final_norm, stack.head)(chosen), x


def places_of(
    cache: TreeCache,
    layer: LayerWeights,
    tables: tuple[torch.Tensor, torch.Tensor],
    rows: Rows,
) -> Places:
    """Where a layer's rows stand; `tables` is what `RotaryTable.at` gives for their positions."""
    cos, sin = (table[layer.kind.rotation] for table in tables)
    storage = cache.storage[layer.cache_index, :, 0]
    return Places(cos, sin, rows.positions, storage, rows.slots)


def keep_states_at(cache: TreeCache, index: int, x: torch.Tensor, slots: torch.Tensor) -> None:
    """Keeps the states in front of a layer, where a drafter reads them."""
    if cache.hidden_states is not None:
        cache.hidden_states.put_at(index, x, slots)
