"""Where a layer's rows stand, as the compiled parts and our own kernels take it."""

from typing import NamedTuple

import torch


class Places(NamedTuple):
    """Of rows in the text, and in the cache of a layer."""

    cos: torch.Tensor  # [rows, 1, head_dim]
    sin: torch.Tensor  # [rows, 1, head_dim]
    positions: torch.Tensor  # [rows]
    storage: torch.Tensor  # [2, kv_heads, capacity, head_dim]
    slots: torch.Tensor  # [rows]
    """Columns of `storage` that their keys and values are written to."""
