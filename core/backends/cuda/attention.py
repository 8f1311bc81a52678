"""Attention of tree rows over a cache whose committed length only the device knows."""

from typing import NamedTuple, Protocol

import torch

from core.backends.torch.attention import attend_grouped
from core.backends.torch.weights import LayerWeights
from core.backends.windows import hidden
from core.families.architecture import Architecture


class Rows(NamedTuple):
    """Where rows stand in a cache and what they attend to; all of it on the device.

    Each sequence has as many rows as the others, one sequence's behind another's, and a region of the
    cache of its own.
    """

    token_ids: torch.Tensor  # [rows]
    positions: torch.Tensor  # [rows]
    slots: torch.Tensor  # [rows]
    """Columns of the cache that they are written to."""
    start: torch.Tensor  # [sequences]
    """First column of each one's tree in its region; those before it are the text's, each at its
    position."""
    tree: torch.Tensor  # [rows, width] bool
    """Which columns from `start` on each row attends to; none behind them is open."""
    tree_positions: torch.Tensor  # [sequences * width]
    """Of the tokens in these columns, for layers that see a part of the text."""
    origin: torch.Tensor | None = None  # [sequences]
    """First column of each one's region; None where the whole cache is one sequence's."""


class Attention(Protocol):
    """Attends rows to one layer of a cache."""

    def prepare(self, rows: Rows, capacity: int) -> torch.Tensor:
        """What is the same for all layers."""
        ...

    def __call__(
        self,
        layer: LayerWeights,
        queries: torch.Tensor,  # [rows, heads, head_dim]
        storage: torch.Tensor,  # [2, kv_heads, capacity, head_dim]
        rows: Rows,
        prepared: torch.Tensor,
    ) -> torch.Tensor:
        """By the layer's kind and sinks; `storage` are its keys and values.

        Returns  # [rows, heads * head_dim]
        """
        ...


class MaskedAttention:
    """torch's attention over the whole cache under a mask: right on every device, fast on none."""

    def __init__(self, shape: Architecture):
        self._shape = shape

    def prepare(self, rows: Rows, capacity: int) -> torch.Tensor:
        """The mask over all columns, for layers that see all  # [rows, capacity] bool."""
        device, sequences = rows.start.device, len(rows.start)
        columns = torch.arange(capacity, device=device)
        origin = torch.zeros_like(rows.start) if rows.origin is None else rows.origin
        start = origin + rows.start
        is_text = (columns >= origin[:, None]) & (columns < start[:, None])
        count = rows.tree.shape[0] // sequences
        mask = is_text.repeat_interleave(count, dim=0)
        places = start[:, None] + torch.arange(rows.tree.shape[1], device=device)
        return mask.scatter_(1, places.repeat_interleave(count, dim=0), rows.tree)

    def __call__(
        self,
        layer: LayerWeights,
        queries: torch.Tensor,
        storage: torch.Tensor,
        rows: Rows,
        prepared: torch.Tensor,
    ) -> torch.Tensor:
        """See `Attention`."""
        is_open = prepared
        if not layer.kind.sees_all:
            device, (num_rows, width) = rows.start.device, rows.tree.shape
            sequences = len(rows.start)
            positions = torch.arange(storage.shape[2], device=device).expand(sequences, -1)
            places = rows.start[:, None] + torch.arange(width, device=device)
            if rows.origin is not None:
                positions = positions - rows.origin[:, None]
                places = places + rows.origin[:, None]
            positions = positions.scatter(1, places, rows.tree_positions.view(sequences, width))
            of_rows, kind = rows.positions.view(sequences, -1), layer.kind
            is_hidden = hidden(of_rows, positions, kind.window, kind.chunk)
            is_open = is_open & ~is_hidden.view(num_rows, -1)
        lowest = torch.finfo(queries.dtype).min
        mask = queries.new_zeros(is_open.shape).masked_fill_(~is_open, lowest)
        keys, values = storage[0][None], storage[1][None]
        return attend_grouped(
            self._shape, queries, keys, values, mask[None, None], sinks=layer.sinks
        )
