"""What a forward computes: rows of tokens, each block of them over one sequence's cache."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from core.backends.kv_cache import TreeCache
from core.errors import InvalidSettingError


class RowBlock(NamedTuple):
    """Rows of one sequence, whose keys and values go into its cache from `write_start` on."""

    token_ids: torch.Tensor  # [rows] int64
    positions: torch.Tensor  # [rows] int64
    cache: TreeCache
    mask: torch.Tensor | None  # [rows, columns] additive
    """None where there is one row, which attends to everything."""

    @property
    def num_rows(self) -> int:
        return self.token_ids.shape[0]


def check_token_ids(token_ids: Sequence[int], num_token_ids: int) -> None:
    """Raises InvalidSettingError for an id that an embedding of so many rows lacks.

    Lookups on a processor or a GPU read whatever stands in the memory behind the table.
    """
    for token_id in (min(token_ids, default=0), max(token_ids, default=0)):
        if not 0 <= token_id < num_token_ids:
            raise InvalidSettingError(
                f"the text has the token id {token_id} and the model's embedding has "
                f"{num_token_ids} rows; give a model whose tokenizer goes with its weights."
            )


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The blocks' rows one after the other; those of a single block are not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def joined_token_ids(blocks: Sequence[RowBlock]) -> torch.Tensor:
    """Token ids of all rows, block after block  # [rows]."""
    return joined([block.token_ids for block in blocks])


def joined_positions(blocks: Sequence[RowBlock]) -> torch.Tensor:
    """Positions of all rows, block after block  # [rows]."""
    return joined([block.positions for block in blocks])


def num_rows(blocks: Sequence[RowBlock]) -> int:
    """Rows of all blocks together."""
    return sum(block.num_rows for block in blocks)


def row_slices(blocks: Sequence[RowBlock]) -> list[slice]:
    """Where each block's rows stand among all of them."""
    slices, start = [], 0
    for block in blocks:
        slices.append(slice(start, start + block.num_rows))
        start += block.num_rows
    return slices
