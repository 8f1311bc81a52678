"""What layers with a window or with chunks hide of a text, beside what a block's mask hides.

A draft token stands in the cache wherever its tree put it, so that a layer goes by the positions of
tokens and not by their columns.
"""

from typing import NamedTuple

import torch

from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock


class View(NamedTuple):
    """What a layer sees of a block's cache."""

    mask: torch.Tensor | None  # [rows, columns] additive
    """Of the columns from `first` on; None where all of them are seen."""
    first: int


def note_positions(block: RowBlock) -> None:
    """Keeps the positions of the columns that the block's rows are written to."""
    cache = block.cache
    columns = positions_of(cache)
    columns[cache.write_start : cache.write_start + block.num_rows] = block.positions.to(
        columns.device
    )


def positions_of(cache: TreeCache) -> torch.Tensor:
    """Of the token in each column; those of committed tokens are the columns  # [capacity]."""
    if cache.positions is None:
        cache.positions = torch.arange(cache.capacity)
    return cache.positions


def hidden(
    rows: torch.Tensor,  # [..., rows] positions
    columns: torch.Tensor,  # [..., columns] positions
    window: int | None,
    chunk: int | None,
) -> torch.Tensor:
    """Whether a row must not see a column  # [..., rows, columns]."""
    rows, columns = rows[..., :, None], columns[..., None, :]
    if window is not None:
        return columns <= rows - window
    assert chunk is not None, "a layer has one of them"
    return columns // chunk != rows // chunk


def view_of(
    block: RowBlock, window: int | None, chunk: int | None, *, keeps_columns: bool = False
) -> View:
    """What a layer sees of a block whose positions are noted.

    `keeps_columns` leaves in columns that nobody sees, for forwards of one shape.
    """
    if window is None and chunk is None:
        return View(block.mask, 0)
    first = 0
    if not keeps_columns:
        first = first_seen(int(block.positions.min()), block.cache.length, window, chunk)
    if block.mask is None:  # one row, behind a text without branches
        return View(None, first)
    mask = block.mask[:, first:]
    columns = positions_of(block.cache)[first : block.mask.shape[1]].to(mask.device)
    is_hidden = hidden(block.positions, columns, window, chunk)
    return View(mask.masked_fill(is_hidden, torch.finfo(mask.dtype).min), first)


def first_seen(lowest: int, length: int, window: int | None, chunk: int | None) -> int:
    """The first column that any row sees, of rows from position `lowest` on: the `length` committed
    tokens stand at their positions."""
    if window is not None:
        first = lowest - window + 1
    else:
        assert chunk is not None, "a layer has one of them"
        first = lowest // chunk * chunk
    return max(0, min(first, length))
