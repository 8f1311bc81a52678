"""Attention of few rows over a long cache as a Triton kernel, split over the columns.

Flash-Decoding (Dao et al. 2023) with a tree's window behind the committed columns: each program
takes a share of the columns for one key head and all query heads that read it; the one that is done
last joins the shares, in their order. The committed length is read on the device, so that one
captured graph serves every step. Where a device overlaps kernels, this one lets the next one start
and waits for the last.
"""

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from core.backends.cuda.attention import Rows

_BLOCK_COLUMNS = 64
_MOST_BLOCK_ROWS = 64
_LEAST_BLOCK_ROWS = 16  # the smallest tile that a matrix unit takes
_MOST_SPLITS = 64
_PROGRAMS_PER_PROCESSOR = 2
# Counters of programs that are done; more than key heads times blocks of rows.
_NUM_COUNTERS = 1 << 14


@triton.jit
def _join(
    sums, highest, totals, out, lanes, is_lane,
    DIM: tl.constexpr, BLOCK_ROWS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Writes what all shares of some lanes make together; past the first cache, which may be old."""
    dims = tl.arange(0, DIM)
    STEP: tl.constexpr = SPLITS if SPLITS < 8 else 8
    best = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
    for first in range(0, SPLITS, STEP):
        for split in tl.static_range(STEP):
            place = lanes * SPLITS + first + split
            top = tl.load(highest + place, mask=is_lane, other=0.0, cache_modifier=".cg")
            best = tl.maximum(best, top)
    total = tl.zeros([BLOCK_ROWS], tl.float32)
    joined = tl.zeros([BLOCK_ROWS, DIM], tl.float32)
    for first in range(0, SPLITS, STEP):
        for split in tl.static_range(STEP):
            place = lanes * SPLITS + first + split
            top = tl.load(highest + place, mask=is_lane, other=0.0, cache_modifier=".cg")
            factor = tl.exp(top - best)
            part = tl.load(totals + place, mask=is_lane, other=1.0, cache_modifier=".cg")
            total += factor * part
            offsets = place[:, None] * DIM + dims[None, :]
            share = tl.load(sums + offsets, mask=is_lane[:, None], other=0.0, cache_modifier=".cg")
            joined += factor[:, None] * share
    joined = joined / total[:, None]
    offsets = lanes[:, None] * DIM + dims[None, :]
    tl.store(out + offsets, joined.to(out.dtype.element_ty), mask=is_lane[:, None])


@triton.jit
def _attend(
    queries, keys, values, window, start, sums, highest, totals, done, out,
    num_rows, width, capacity, scale,
    GROUPS: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, SPLITS: tl.constexpr,
    OVERLAPS: tl.constexpr,
):  # fmt: skip
    if OVERLAPS:
        gdc_launch_dependents()
        gdc_wait()
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
    tl.debug_barrier()  # all of the program's threads have stored
    counter = done + tl.program_id(2) * tl.num_programs(0) + kv_head
    if tl.atomic_add(counter, 1) == SPLITS - 1:
        tl.store(counter, 0)
        _join(sums, highest, totals, out, row * HEADS + head, is_row, DIM, BLOCK_ROWS, SPLITS)


class TritonAttention:
    """Implements `core.backends.cuda.attention.Attention` for head sizes that are powers of two."""

    def __init__(
        self,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        num_processors: int,
        *,
        overlaps: bool,
    ):
        """`overlaps` is for devices of compute capability 9.0 and above."""
        self._num_heads = num_heads
        self._num_kv_heads = num_kv_heads
        self._groups = num_heads // num_kv_heads
        self._head_dim = head_dim
        self._num_processors = num_processors
        self._overlap = {"OVERLAPS": overlaps, "launch_pdl": overlaps}
        self._done: torch.Tensor | None = None

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
        out = queries.new_empty((num_rows, num_heads * dim))
        if self._done is None:
            self._done = torch.zeros(_NUM_COUNTERS, dtype=torch.int32, device=queries.device)
        assert self._num_kv_heads * num_blocks <= _NUM_COUNTERS, "rows are a tree's"
        _attend[(self._num_kv_heads, splits, num_blocks)](
            queries, layer[0], layer[1], prepared, rows.start, sums, highest, totals, self._done, out,
            num_rows, prepared.shape[1], layer.shape[2], dim**-0.5,
            GROUPS=self._groups, HEADS=num_heads, DIM=dim,
            BLOCK_ROWS=block_rows, BLOCK_COLUMNS=_BLOCK_COLUMNS, SPLITS=splits, **self._overlap,
        )  # fmt: skip
        return out

    def _num_splits(self, num_blocks: int) -> int:
        """Enough programs to fill the device, in a power of two."""
        wanted = self._num_processors * _PROGRAMS_PER_PROCESSOR
        splits = wanted // (self._num_kv_heads * num_blocks)
        return min(_MOST_SPLITS, 1 << max(0, splits.bit_length() - 1))
