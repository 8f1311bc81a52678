"""Attention of few rows over a long cache as Triton kernels, split over the columns.

Flash-Decoding (Dao et al. 2023) with a tree's window behind the committed columns: each program
takes a share of the columns for one key head and all query heads that read it; a second kernel
joins the shares. The committed length is read on the device, so that one captured graph serves
every step.
"""

import torch
import triton
import triton.language as tl

from core.resident.attention import Rows

_BLOCK_COLUMNS = 64
_MOST_BLOCK_ROWS = 64
_LEAST_BLOCK_ROWS = 16  # the smallest tile that a matrix unit takes
_MOST_SPLITS = 64
_PROGRAMS_PER_PROCESSOR = 2


@triton.jit
def _attend_share(
    queries, keys, values, window, start, sums, highest, totals,
    num_rows, width, capacity, scale,
    GROUPS: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    kv_head, split = tl.program_id(0), tl.program_id(1)
    lane = tl.program_id(2) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row, head = lane // GROUPS, kv_head * GROUPS + lane % GROUPS
    is_row = row < num_rows
    dims = tl.arange(0, DIM)
    query = tl.load(
        queries + (row[:, None] * HEADS + head[:, None]) * DIM + dims[None, :],
        mask=is_row[:, None],
        other=0.0,
    )
    first = tl.load(start)
    num_columns = first + width
    share = tl.cdiv(tl.cdiv(num_columns, SPLITS), BLOCK_COLUMNS) * BLOCK_COLUMNS
    low = split * share
    high = tl.minimum(low + share, num_columns)
    top = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_ROWS], tl.float32)
    attended = tl.zeros([BLOCK_ROWS, DIM], tl.float32)
    base = kv_head.to(tl.int64) * capacity * DIM
    for column in range(low, high, BLOCK_COLUMNS):
        columns = column + tl.arange(0, BLOCK_COLUMNS)
        is_column = columns < high
        offsets = base + columns[:, None] * DIM + dims[None, :]
        key = tl.load(keys + offsets, mask=is_column[:, None], other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        place = columns - first
        in_window = (place >= 0) & is_column
        is_open = tl.load(
            window + row[:, None] * width + place[None, :],
            mask=in_window[None, :] & is_row[:, None],
            other=1,
        )
        scores = tl.where((is_open != 0) & is_column[None, :], scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, axis=1))
        safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)
        weights = tl.exp(scores - safe_top[:, None])
        rescale = tl.exp(top - safe_top)
        total = total * rescale + tl.sum(weights, axis=1)
        value = tl.load(values + offsets, mask=is_column[:, None], other=0.0)
        product = tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        attended = attended * rescale[:, None] + product
        top = new_top
    place = (row * HEADS + head) * SPLITS + split
    tl.store(highest + place, top, mask=is_row)
    tl.store(totals + place, total, mask=is_row)
    tl.store(sums + place[:, None] * DIM + dims[None, :], attended, mask=is_row[:, None])


@triton.jit
def _join_shares(
    sums, highest, totals, out,
    DIM: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0)
    splits, dims = tl.arange(0, SPLITS), tl.arange(0, DIM)
    top = tl.load(highest + place * SPLITS + splits)
    factor = tl.exp(top - tl.max(top, axis=0))
    total = tl.sum(tl.load(totals + place * SPLITS + splits) * factor, axis=0)
    shares = tl.load(sums + (place * SPLITS + splits[:, None]) * DIM + dims[None, :])
    joined = tl.sum(shares * factor[:, None], axis=0) / total
    tl.store(out + place * DIM + dims, joined.to(out.dtype.element_ty))


class TritonAttention:
    """Implements `core.resident.attention.Attention` for head sizes that are powers of two."""

    def __init__(self, num_heads: int, num_kv_heads: int, head_dim: int, num_processors: int):
        self._num_heads = num_heads
        self._num_kv_heads = num_kv_heads
        self._groups = num_heads // num_kv_heads
        self._head_dim = head_dim
        self._num_processors = num_processors

    def prepare(self, rows: Rows, capacity: int) -> torch.Tensor:
        """The window as bytes  # [rows, width] int8."""
        return rows.window.to(torch.int8).contiguous()

    def __call__(
        self,
        queries: torch.Tensor,
        layer: torch.Tensor,
        rows: Rows,
        prepared: torch.Tensor,
    ) -> torch.Tensor:
        """See `Attention`."""
        num_rows, dim, num_heads = queries.shape[0], self._head_dim, self._num_heads
        lanes = num_rows * self._groups
        block_rows = min(max(triton.next_power_of_2(lanes), _LEAST_BLOCK_ROWS), _MOST_BLOCK_ROWS)
        num_blocks = triton.cdiv(lanes, block_rows)
        splits = self._num_splits(num_blocks)
        places = num_rows * num_heads * splits
        sums = queries.new_empty((places, dim), dtype=torch.float32)
        highest = queries.new_empty(places, dtype=torch.float32)
        totals = queries.new_empty(places, dtype=torch.float32)
        _attend_share[(self._num_kv_heads, splits, num_blocks)](
            queries, layer[0], layer[1], prepared, rows.start, sums, highest, totals,
            num_rows, prepared.shape[1], layer.shape[2], dim**-0.5,
            GROUPS=self._groups, HEADS=num_heads, DIM=dim,
            BLOCK_ROWS=block_rows, BLOCK_COLUMNS=_BLOCK_COLUMNS, SPLITS=splits,
        )  # fmt: skip
        out = queries.new_empty((num_rows, num_heads * dim))
        _join_shares[(num_rows * num_heads,)](sums, highest, totals, out, DIM=dim, SPLITS=splits)
        return out

    def _num_splits(self, num_blocks: int) -> int:
        """Enough programs to fill the device, in a power of two."""
        wanted = self._num_processors * _PROGRAMS_PER_PROCESSOR
        splits = wanted // (self._num_kv_heads * num_blocks)
        return min(_MOST_SPLITS, 1 << max(0, splits.bit_length() - 1))
