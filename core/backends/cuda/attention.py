"""Attention of tree rows over a cache whose committed length only the device knows."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F


class Rows(NamedTuple):
    """Where rows stand in a cache and what they attend to; all of it on the device."""

    token_ids: torch.Tensor  # [rows]
    positions: torch.Tensor  # [rows]
    slots: torch.Tensor  # [rows]
    """Columns of the cache that they are written to."""
    start: torch.Tensor  # [1]
    """First column of the window; the columns before it are open to all rows."""
    window: torch.Tensor  # [rows, width] bool
    """Which columns from `start` on each row attends to; none behind them is open."""


class Attention(Protocol):
    """Attends rows to one layer of a cache."""

    def prepare(self, rows: Rows, capacity: int) -> torch.Tensor:
        """What is the same for all layers."""
        ...

    def __call__(
        self,
        queries: torch.Tensor,  # [rows, heads, head_dim]
        layer: torch.Tensor,  # [2, kv_heads, capacity, head_dim]
        rows: Rows,
        prepared: torch.Tensor,
    ) -> torch.Tensor:
        """Returns  # [rows, heads * head_dim]."""
        ...


class MaskedAttention:
    """torch's attention over the whole cache under a mask: right on every device, fast on none."""

    def prepare(self, rows: Rows, capacity: int) -> torch.Tensor:
        """The mask over all columns  # [rows, capacity] bool."""
        device = rows.start.device
        mask = torch.arange(capacity, device=device)[None] < rows.start
        mask = mask.expand(rows.window.shape[0], -1).contiguous()
        columns = rows.start + torch.arange(rows.window.shape[1], device=device)
        return mask.index_copy_(1, columns, rows.window)

    def __call__(
        self,
        queries: torch.Tensor,
        layer: torch.Tensor,
        rows: Rows,
        prepared: torch.Tensor,
    ) -> torch.Tensor:
        """See `Attention`."""
        attended = F.scaled_dot_product_attention(
            queries.transpose(0, 1)[None], layer[0][None], layer[1][None], prepared, enable_gqa=True
        )
        return attended[0].transpose(0, 1).reshape(queries.shape[0], -1)
