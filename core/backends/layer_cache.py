"""A KV cache whose layers bring their own sizes, for what transformers' modules compute."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from core.backends.chain_state import ChainState
from core.backends.kv_cache import TreeCache


class LayerRooms(NamedTuple):
    """Where a layer keeps what it has of each column; the two may differ in width and heads."""

    keys: torch.Tensor  # [1, num_kv_heads, capacity, width]
    values: torch.Tensor  # [1, num_value_heads, capacity, value_width]


class LayerCache(TreeCache):
    """A cache whose layers have the sizes, number format and device of what they write first."""

    view: Any = None
    """What transformers' module reads the columns through, where it computes trees."""
    state: ChainState | None = None
    """What a module keeps that computes chains alone."""
    lowest = 0
    """Position of the first row of the forward under way: layers with a window read from there back."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.truncate(0)
        self._layers: dict[int, LayerRooms] = {}

    def storages(self) -> Sequence[torch.Tensor]:
        """See `TreeCache.storages`; those of layers that have computed."""
        return [storage for rooms in self._layers.values() for storage in rooms]

    def rooms(
        self,
        index: int,
        keys: torch.Tensor,  # [1, num_kv_heads, rows, width]
        values: torch.Tensor,  # [1, num_value_heads, rows, value_width]
    ) -> LayerRooms:
        """Those of a layer; made like the keys and values of its first rows."""
        if index not in self._layers:
            # Zeros, for what a mask hides must be finite.
            self._layers[index] = LayerRooms(*map(self._room, (keys, values)))
        return self._layers[index]

    def _room(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.new_zeros((*rows.shape[:2], self.capacity, rows.shape[3]))

    def wipe(self, start: int) -> None:
        """See `TreeCache.wipe`; a state is forgotten whole."""
        super().wipe(start)
        self.state = None

    def known(self, length: int) -> int:
        """See `TreeCache.known`."""
        return length if self.state is None else self.state.known(length)

    def keep_prompt(self) -> None:
        """See `TreeCache.keep_prompt`."""
        if self.state is not None:
            self.state.keep_prompt(self.length)

    def pretend(self, length: int) -> None:
        """See `TreeCache.pretend`."""
        super().pretend(length)
        if self.state is not None:
            self.state.pretend(length)
