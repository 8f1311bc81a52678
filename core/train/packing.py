"""Packs conversations into rows of one length and deals them out in batches."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from core.errors import InvalidSettingError
from core.train.shards import Conversations


class PackedRows(NamedTuple):
    """Rows of several conversations each."""

    token_ids: torch.Tensor  # [rows, row_length] int32
    documents: torch.Tensor  # [rows, row_length] int32
    """Which conversation of the row a token belongs to, from 1; 0 is padding."""
    loss_mask: torch.Tensor  # [rows, row_length] bool

    def batch(self, rows: torch.Tensor, device: torch.device) -> "PackedRows":
        """Some rows, on a device."""
        return PackedRows(*(part[rows].to(device, non_blocking=True) for part in self))

    def parts(self, count: int, device: torch.device) -> Iterator["PackedRows"]:
        """All rows in order, at most `count` at a time, on a device."""
        for start in range(0, len(self.token_ids), count):
            yield PackedRows(*(part[start : start + count].to(device) for part in self))

    def thinned(self, most: int) -> "PackedRows":
        """At most so many rows, spread over all."""
        return PackedRows(*(part[:: max(1, len(part) // most)][:most] for part in self))


def pack(
    data: Conversations,
    chosen: torch.Tensor,
    row_length: int,  # [count] bool
) -> PackedRows:
    """Fills rows with the chosen conversations, the long ones first, short ones behind them.

    Longer conversations than a row are cut at its end. Raises InvalidSettingError where nothing
    is chosen.
    """
    indices = chosen.nonzero()[:, 0]
    lengths = (data.offsets[1:] - data.offsets[:-1])[indices].clamp(max=row_length)
    if not len(indices):
        raise InvalidSettingError("no conversation fits the split; generate more data.")
    order = torch.argsort(lengths, descending=True, stable=True).tolist()
    sizes, picked = lengths.tolist(), indices.tolist()
    rows: list[list[int]] = []
    first, last = 0, len(order) - 1
    while first <= last:
        row, room = [order[first]], row_length - sizes[order[first]]
        first += 1
        while first <= last and sizes[order[first]] <= room:
            room -= sizes[order[first]]
            row.append(order[first])
            first += 1
        while first <= last and sizes[order[last]] <= room:
            room -= sizes[order[last]]
            row.append(order[last])
            last -= 1
        rows.append(row)
    token_ids = torch.zeros(len(rows), row_length, dtype=torch.int32)
    documents = torch.zeros_like(token_ids)
    loss_mask = torch.zeros(len(rows), row_length, dtype=torch.bool)
    for index, row in enumerate(rows):
        start = 0
        for number, item in enumerate(row, 1):
            end = start + sizes[item]
            begin = int(data.offsets[picked[item]])
            source = slice(begin, begin + sizes[item])
            token_ids[index, start:end] = data.token_ids[source]
            loss_mask[index, start:end] = data.loss_mask[source]
            documents[index, start:end] = number
            start = end
    return PackedRows(token_ids, documents, loss_mask)


def rows_of_step(num_rows: int, per_step: int, step: int, seed: int) -> torch.Tensor:
    """Which rows a step takes: every epoch goes through all in another order  # [per_step].

    The same for the same arguments, so that a resumed training goes on where it stopped.
    """
    wanted = torch.arange(step * per_step, (step + 1) * per_step)
    epochs = wanted // num_rows
    picked = torch.empty_like(wanted)
    for epoch in epochs.unique().tolist():
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        permutation = torch.randperm(num_rows, generator=generator)
        here = epochs == epoch
        picked[here] = permutation[wanted[here] % num_rows]
    return picked


def frequent_ids(
    data: Conversations, chosen: torch.Tensor, count: int, vocab_size: int
) -> torch.Tensor:
    """The ids most often written in answers, in increasing order  # [count].

    Ties and ids that never occur are taken in the vocabulary's order.
    """
    lengths = data.offsets[1:] - data.offsets[:-1]
    in_split = chosen.repeat_interleave(lengths)
    written = data.token_ids[in_split & data.loss_mask].long()
    counts = torch.bincount(written, minlength=vocab_size)
    return torch.argsort(counts, descending=True, stable=True)[:count].sort().values
