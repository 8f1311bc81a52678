"""A preallocated KV cache of one sequence and the tree behind it.

Tree tokens are written behind the committed ones; the accepted path is then moved into place by
index, in one operation over all layers. Nothing is stacked anew or cropped by copying.
"""

import math
import mmap
from collections.abc import Sequence

import torch


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """On the CPU in fresh pages of the system, which are zero and take no memory before they are
    written: most of a cache is never used  # [*shape]"""
    if device.type != "cpu" or 0 in shape:  # some heads have no layers
        return torch.zeros(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, access=mmap.ACCESS_COPY)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


class HiddenStates:
    """Hidden states of some layers for every column of a cache, side by side in a row."""

    def __init__(
        self,
        layers: tuple[int, ...],
        hidden_size: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        """The states in front of these layers; the number of layers stands for the last state."""
        self.layers = layers
        self.layer_ids = torch.tensor(layers, dtype=torch.int32)  # for compiled kernels
        # The shape is [capacity, num_layers * hidden]
        self.rows = _zeros((capacity, len(layers) * hidden_size), dtype, device)
        self._hidden_size = hidden_size

    def of(
        self,
        layers: tuple[int, ...],
        picked: torch.Tensor,  # [rows, all layers * hidden]
    ) -> torch.Tensor:
        """Of some of its rows, the states in front of these layers  # [rows, layers * hidden]."""
        if layers == self.layers:
            return picked
        size = self._hidden_size
        starts = (self.layers.index(layer) * size for layer in layers)
        return torch.cat([picked[:, start : start + size] for start in starts], dim=-1)

    def region(self, first: int, capacity: int) -> "HiddenStates":
        """Those of some columns."""
        rows = self.rows[first : first + capacity]
        own = HiddenStates(self.layers, self._hidden_size, 0, rows.dtype, rows.device)
        own.rows = rows
        return own

    def put(self, layer: int, x: torch.Tensor, start: int) -> None:  # [rows, hidden]
        """Keeps the states in front of a layer, where they are asked for."""
        for index, wanted in enumerate(self.layers):
            if wanted == layer:
                columns = slice(index * self._hidden_size, (index + 1) * self._hidden_size)
                self.rows[start : start + len(x), columns] = x

    def put_at(
        self,
        layer: int,
        x: torch.Tensor,  # [rows, hidden]
        slots: torch.Tensor,  # [rows]
    ) -> None:
        """`put` for rows whose columns only the device knows."""
        for index, wanted in enumerate(self.layers):
            if wanted == layer:
                columns = slice(index * self._hidden_size, (index + 1) * self._hidden_size)
                self.rows[:, columns].index_copy_(0, slots, x)


class HeadStates:
    """What an EAGLE head reads and makes in one forward over its cache's sequence."""

    given: torch.Tensor | None = None  # [rows, hidden]
    """A state for each row of the next forward, which takes them; without any, zeros, whose cost
    is the same."""
    made = torch.empty(0)  # [rows, hidden]
    """What the last forward made of them."""


class TreeCache:
    """Keys and values of all layers in one tensor, with a committed length."""

    hidden_states: HiddenStates | None = None
    """Moves with keys and values; filled by our own forward where a drafter reads it."""
    head_states: HeadStates | None = None
    """On an EAGLE head's own cache."""
    positions: torch.Tensor | None = None  # [capacity] int64, on the CPU
    """Of the token in each column; kept where layers see only a part of the text."""

    def __init__(
        self,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        # The shape is [num_layers, 2, 1, num_kv_heads, capacity, head_dim]
        # Zeros, for what a mask hides must be finite.
        self.storage = _zeros((num_layers, 2, 1, num_kv_heads, capacity, head_dim), dtype, device)
        self.capacity = capacity
        self.length = 0
        self.write_start = 0
        """Where the next forward writes; behind `length` while a drafter is at work."""

    def region(self, first: int, capacity: int) -> "TreeCache":
        """One sequence's cache in some columns of this one."""
        _, _, _, num_kv_heads, _, head_dim = self.storage.shape
        own = TreeCache(0, num_kv_heads, head_dim, 0, self.storage.dtype, self.storage.device)
        own.storage, own.capacity = self.storage[..., first : first + capacity, :], capacity
        if self.hidden_states is not None:
            own.hidden_states = self.hidden_states.region(first, capacity)
        return own

    def keep(self, rows: Sequence[int]) -> None:
        """Commits rows written behind the committed length, given by their increasing offsets."""
        start, num_kept = self.length, len(rows)
        if num_kept and rows[-1] != num_kept - 1:
            self._move(rows, start)
        if self.positions is not None:
            self._put_positions(start, start + num_kept)
        self.truncate(start + num_kept)

    @torch.inference_mode()
    def _put_positions(self, start: int, end: int) -> None:
        """A path's tokens stand one after the other."""
        assert self.positions is not None, "they are kept"
        self.positions[start:end] = torch.arange(start, end)

    @torch.inference_mode()  # a cache may have been made while a forward ran
    def _move(self, rows: Sequence[int], start: int) -> None:
        """Moves rows, by their offsets from a column, to that column and those behind it."""
        end = start + len(rows)
        for storage in self.storages():
            index = torch.tensor(rows, device=storage.device) + start
            storage[..., start:end, :] = storage.index_select(-2, index)
        if self.hidden_states is not None:
            states = self.hidden_states.rows
            index = torch.tensor(rows, device=states.device) + start
            states[start:end] = states.index_select(0, index)

    @torch.inference_mode()
    def wipe(self, start: int) -> None:
        """Writes zeros from a column on: what a mask hides must be finite, for NaN times zero is not
        zero."""
        for storage in self.storages():
            storage[..., start:, :].zero_()

    def storages(self) -> Sequence[torch.Tensor]:
        """All memory of keys and values, whose last dimensions are [capacity, head_dim]."""
        return (self.storage,)

    @property
    def devices(self) -> list[torch.device]:
        """Where it lies, the device of the decisions first."""
        return [storage.device for storage in self.storages()]

    def truncate(self, length: int) -> None:
        """Sets the committed length; entries behind it are free to be written over."""
        self.length = length
        self.write_start = length

    def known(self, length: int) -> int:
        """Behind how many of `length` committed tokens, or of fewer, a text can go on."""
        return length

    def keep_prompt(self) -> None:
        """Lets a later text go on behind the present committed tokens."""

    def pretend(self, length: int) -> None:
        """Takes what the cache holds for so many committed tokens, where only time is measured."""
        self.truncate(length)
