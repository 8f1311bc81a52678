"""Attention of tree rows over a cache whose committed length only the device knows."""

from typing import NamedTuple, Protocol

import torch

from core.backends.torch.attention import attend_grouped
from core.backends.torch.weights import LayerWeights
from core.backends.windows import hidden
from core.families.architecture import Architecture


class Rows(NamedTuple):
    """Where rows stand in a cache and what they attend to; all of it on the device."""

    token_ids: torch.Tensor  # [rows]
    positions: torch.Tensor  # [rows]
    slots: torch.Tensor  # [rows]
    """Columns of the cache that they are written to."""
    start: torch.Tensor  # [1]
    """First column of the tree; those before it are the text's, each at its position."""
    tree: torch.Tensor  # [rows, width] bool
    """Which columns from `start` on each row attends to; none behind them is open."""
    tree_positions: torch.Tensor  # [width]
    """Of the tokens in these columns, for layers that see a part of the text."""


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
        device = rows.start.device
        mask = torch.arange(capacity, device=device)[None] < rows.start
        mask = mask.expand(rows.tree.shape[0], -1).contiguous()
        columns = rows.start + torch.arange(rows.tree.shape[1], device=device)
        return mask.index_copy_(1, columns, rows.tree)

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
            device, width = rows.start.device, rows.tree.shape[1]
            columns = torch.arange(storage.shape[2], device=device)
            places = rows.start + torch.arange(width, device=device)
            columns = columns.index_copy(0, places, rows.tree_positions)
            kind = layer.kind
            is_open = is_open & ~hidden(rows.positions, columns, kind.window, kind.chunk)
        lowest = torch.finfo(queries.dtype).min
        mask = queries.new_zeros(is_open.shape).masked_fill_(~is_open, lowest)
        keys, values = storage[0][None], storage[1][None]
        return attend_grouped(
            self._shape, queries, keys, values, mask[None, None], sinks=layer.sinks
        )
