"""Attention of few rows over a long cache as a Triton kernel, split over the columns.

Flash-Decoding (Dao et al. 2023) with a tree behind the committed columns: each program takes a
share of the columns for one key head and all query heads that read it, and no more programs work than
there are blocks of columns; the one that is done last joins the shares, in their order. Layers with a
window or chunks share out the columns from the first that a row sees. The committed length is read on
the device, so that one captured graph serves every step. Where a device overlaps kernels, this one lets
the next one start and waits for the last.
"""

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait, libdevice

from core.backends.cuda.attention import Rows
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture

# Columns that a program reads at once, fewer where wide keys and many rows fill the shared memory.
_MOST_BLOCK_COLUMNS, _LEAST_BLOCK_COLUMNS = 64, 16
_BLOCK_BYTES = 1 << 20  # of columns times rows
_MOST_BLOCK_ROWS = 64
_LEAST_BLOCK_ROWS = _LEAST_WIDTH = 16  # the smallest tile that a matrix unit takes
_MOST_SPLITS = 64
_PROGRAMS_PER_PROCESSOR = 2
# Counters of programs that are done; more than key heads times blocks of rows.
_NUM_COUNTERS = 1 << 16


@triton.jit
def _write(
    out, sinks, lanes, is_lane, heads, top, total, attended,
    DIM: tl.constexpr, WIDTH: tl.constexpr, HAS_SINKS: tl.constexpr,
):  # fmt: skip
    """Writes what some lanes read: weighted values and the weights' total, both times exp(-top)."""
    dims = tl.arange(0, WIDTH)
    if HAS_SINKS:  # a share of attention that adds nothing
        sink = tl.load(sinks + heads).to(tl.float32)
        best = tl.maximum(top, sink)
        factor = tl.exp(top - best)
        total = total * factor + tl.exp(sink - best)
        attended = attended * factor[:, None]
    offsets = lanes[:, None] * DIM + dims[None, :]
    is_there = is_lane[:, None] & (dims < DIM)[None, :]
    tl.store(out + offsets, (attended / total[:, None]).to(out.dtype.element_ty), mask=is_there)


@triton.jit
def _joined(
    sums, highest, totals, lanes, is_lane, num_shares,
    DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """What all shares of some lanes make together; past the first cache, which may be old."""
    dims = tl.arange(0, WIDTH)
    is_there = is_lane[:, None] & (dims < DIM)[None, :]
    STEP: tl.constexpr = SPLITS if SPLITS < 8 else 8
    best = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
    for first in range(0, num_shares, STEP):
        for split in tl.static_range(STEP):
            place = lanes * SPLITS + first + split
            is_one = is_lane & (place - lanes * SPLITS < num_shares)
            top = tl.load(highest + place, mask=is_one, other=float("-inf"), cache_modifier=".cg")
            best = tl.maximum(best, top)
    best = tl.where(is_lane, best, 0.0)
    total = tl.zeros([BLOCK_ROWS], tl.float32)
    joined = tl.zeros([BLOCK_ROWS, WIDTH], tl.float32)
    for first in range(0, num_shares, STEP):
        for split in tl.static_range(STEP):
            place = lanes * SPLITS + first + split
            is_one = is_lane & (place - lanes * SPLITS < num_shares)
            top = tl.load(highest + place, mask=is_one, other=float("-inf"), cache_modifier=".cg")
            factor = tl.exp(top - best)
            part = tl.load(totals + place, mask=is_one, other=0.0, cache_modifier=".cg")
            total += factor * part
            offsets = place[:, None] * DIM + dims[None, :]
            is_seen = is_there & is_one[:, None]
            share = tl.load(sums + offsets, mask=is_seen, other=0.0, cache_modifier=".cg")
            joined += factor[:, None] * share
    return best, total, joined


@triton.jit
def _since(positions, row, is_row, WINDOW: tl.constexpr, CHUNK: tl.constexpr):
    """The first position that each row sees."""
    position = tl.load(positions + row, mask=is_row, other=2147483647).to(tl.int32)
    return position - WINDOW + 1 if WINDOW > 0 else position // CHUNK * CHUNK


@triton.jit
def _is_in_tree(tree, row, is_row, place, in_tree, width):
    """Whether each row attends to some columns; those before the tree are open to all."""
    offsets = row[:, None] * width + place[None, :]
    return tl.load(tree + offsets, mask=in_tree[None, :] & is_row[:, None], other=1) != 0


@triton.jit
def _folded(
    query, key, value, columns, high, first, row, is_row, since, tree, tree_positions, width,
    top, total, attended, scale, cap,
    WINDOW: tl.constexpr, CHUNK: tl.constexpr, HAS_CAP: tl.constexpr,
):  # fmt: skip
    """What rows have read, with some columns more."""
    is_column = columns < high
    scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
    if HAS_CAP:
        scores = libdevice.tanh(scores / cap) * cap
    place = columns - first
    in_tree = (place >= 0) & is_column
    is_seen = _is_in_tree(tree, row, is_row, place, in_tree, width) & is_column[None, :]
    if WINDOW + CHUNK > 0:
        of_tree = tl.load(tree_positions + place, mask=in_tree, other=0).to(tl.int32)
        is_seen = is_seen & (tl.where(in_tree, of_tree, columns)[None, :] >= since[:, None])
    scores = tl.where(is_seen, scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, axis=1))
    safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)
    weights = tl.exp(scores - safe_top[:, None])
    rescale = tl.exp(top - safe_top)
    total = total * rescale + tl.sum(weights, axis=1)
    attended = attended * rescale[:, None] + tl.dot(
        weights.to(value.dtype), value, input_precision="ieee"
    )
    return new_top, total, attended


@triton.jit
def _leave_share(
    sums, highest, totals, counter, sinks, out, lanes, is_lane, heads, split, num_shares,
    top, total, attended,
    DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr, SPLITS: tl.constexpr,
    HAS_SINKS: tl.constexpr,
):  # fmt: skip
    """Leaves one share for whoever is done last, who writes what all make together."""
    dims = tl.arange(0, WIDTH)
    place = lanes * SPLITS + split
    tl.store(highest + place, top, mask=is_lane)
    tl.store(totals + place, total, mask=is_lane)
    offsets = place[:, None] * DIM + dims[None, :]
    tl.store(sums + offsets, attended, mask=is_lane[:, None] & (dims < DIM)[None, :])
    tl.debug_barrier()  # all of the program's threads have stored
    if tl.atomic_add(counter, 1) == num_shares - 1:
        tl.store(counter, 0)
        top, total, attended = _joined(
            sums, highest, totals, lanes, is_lane, num_shares, DIM, WIDTH, BLOCK_ROWS, SPLITS
        )
        _write(out, sinks, lanes, is_lane, heads, top, total, attended, DIM, WIDTH, HAS_SINKS)


@triton.jit
def _region(origin, sequence, HAS_ORIGIN: tl.constexpr):
    """The first column of a sequence."""
    return tl.load(origin + sequence) if HAS_ORIGIN else 0


@triton.jit
def _attend(
    queries, keys, values, tree, positions, tree_positions, start, origin, sinks,
    sums, highest, totals, done, out,
    rows_each, blocks_each, width, capacity, scale, cap,
    GROUPS: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, SPLITS: tl.constexpr,
    WINDOW: tl.constexpr, CHUNK: tl.constexpr, HAS_CAP: tl.constexpr, HAS_SINKS: tl.constexpr,
    HAS_ORIGIN: tl.constexpr, OVERLAPS: tl.constexpr,
):  # fmt: skip
    if OVERLAPS:
        gdc_launch_dependents()
    kv_head, split = tl.program_id(0), tl.program_id(1)
    sequence = tl.program_id(2) // blocks_each
    lane = tl.program_id(2) % blocks_each * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row, is_row = sequence * rows_each + lane // GROUPS, lane // GROUPS < rows_each
    head = kv_head * GROUPS + lane % GROUPS
    dims = tl.arange(0, WIDTH)
    is_dim = (dims < DIM)[None, :]
    first = tl.load(start + sequence).to(tl.int32)
    lowest, num_columns, own_positions = 0, first + width, tree_positions + sequence * width
    since = row
    if WINDOW + CHUNK > 0:
        since = _since(positions, row, is_row, WINDOW, CHUNK)
        lowest = tl.minimum(tl.maximum(tl.min(since, axis=0), 0), first)
    share = tl.cdiv(tl.cdiv(num_columns - lowest, SPLITS), BLOCK_COLUMNS) * BLOCK_COLUMNS
    num_shares = tl.cdiv(num_columns - lowest, share)
    if split < num_shares:
        low = lowest + split * share
        high = tl.minimum(low + share, num_columns)
        base = (kv_head.to(tl.int64) * capacity + _region(origin, sequence, HAS_ORIGIN)) * DIM
        if OVERLAPS:
            gdc_wait()
        query = tl.load(
            queries + (row[:, None] * HEADS + head[:, None]) * DIM + dims[None, :],
            mask=is_row[:, None] & is_dim,
            other=0.0,
        )
        top = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_ROWS], tl.float32)
        attended = tl.zeros([BLOCK_ROWS, WIDTH], tl.float32)
        for column in range(low, high, BLOCK_COLUMNS):
            columns = column + tl.arange(0, BLOCK_COLUMNS)
            offsets = base + columns[:, None] * DIM + dims[None, :]
            is_there = (columns < high)[:, None] & is_dim
            key = tl.load(keys + offsets, mask=is_there, other=0.0)
            value = tl.load(values + offsets, mask=is_there, other=0.0)
            top, total, attended = _folded(
                query, key, value, columns, high, first, row, is_row, since, tree, own_positions,
                width, top, total, attended, scale, cap, WINDOW, CHUNK, HAS_CAP,
            )  # fmt: skip
        lanes = row * HEADS + head
        if num_shares == 1:
            _write(out, sinks, lanes, is_row, head, top, total, attended, DIM, WIDTH, HAS_SINKS)
        else:
            counter = done + tl.program_id(2) * tl.num_programs(0) + kv_head
            _leave_share(
                sums, highest, totals, counter, sinks, out, lanes, is_row, head, split, num_shares,
                top, total, attended, DIM, WIDTH, BLOCK_ROWS, SPLITS, HAS_SINKS,
            )  # fmt: skip


class TritonAttention:
    """Implements `core.backends.cuda.attention.Attention`."""

    def __init__(self, shape: Architecture, num_processors: int, *, overlaps: bool):
        """`overlaps` is for devices of compute capability 9.0 and above."""
        self._shape = shape
        self._groups = shape.num_heads // shape.num_kv_heads
        self._num_processors = num_processors
        self._overlap = {"OVERLAPS": overlaps, "launch_pdl": overlaps}
        self._done: torch.Tensor | None = None

    def prepare(self, rows: Rows, capacity: int) -> torch.Tensor:
        """The tree's columns as bytes  # [rows, width] int8."""
        return rows.tree.to(torch.int8).contiguous()

    def __call__(
        self,
        layer: LayerWeights,
        queries: torch.Tensor,
        storage: torch.Tensor,
        rows: Rows,
        prepared: torch.Tensor,
    ) -> torch.Tensor:
        """See `Attention`."""
        shape, kind, num_rows = self._shape, layer.kind, queries.shape[0]
        dim, num_heads = shape.head_dim, shape.num_heads
        rows_each = num_rows // len(rows.start)
        lanes = rows_each * self._groups
        block_rows = min(max(triton.next_power_of_2(lanes), _LEAST_BLOCK_ROWS), _MOST_BLOCK_ROWS)
        blocks_each = triton.cdiv(lanes, block_rows)
        num_blocks = blocks_each * len(rows.start)
        width = max(triton.next_power_of_2(dim), _LEAST_WIDTH)
        fitting = _BLOCK_BYTES // (max(block_rows, 32) * width * queries.itemsize)
        block_columns = min(max(fitting, _LEAST_BLOCK_COLUMNS), _MOST_BLOCK_COLUMNS)
        splits = self._num_splits(num_blocks)
        places = num_rows * num_heads * splits
        sums = queries.new_empty((places, dim), dtype=torch.float32)
        highest = queries.new_empty(places, dtype=torch.float32)
        totals = queries.new_empty(places, dtype=torch.float32)
        out = queries.new_empty((num_rows, num_heads * dim))
        if self._done is None:
            self._done = torch.zeros(_NUM_COUNTERS, dtype=torch.int32, device=queries.device)
        assert shape.num_kv_heads * num_blocks <= _NUM_COUNTERS, "rows are those of some trees"
        sinks, origin = layer.sinks, rows.origin
        _attend[(shape.num_kv_heads, splits, num_blocks)](
            queries, storage[0], storage[1], prepared, rows.positions, rows.tree_positions, rows.start,
            rows.start if origin is None else origin,
            highest if sinks is None else sinks, sums, highest, totals, self._done, out,
            rows_each, blocks_each, prepared.shape[1], storage.shape[2],
            shape.scale, shape.attention_cap or 1.0,
            GROUPS=self._groups, HEADS=num_heads, DIM=dim, WIDTH=width,
            BLOCK_ROWS=block_rows, BLOCK_COLUMNS=block_columns, SPLITS=splits,
            WINDOW=kind.window or 0, CHUNK=kind.chunk or 0,
            HAS_CAP=shape.attention_cap is not None, HAS_SINKS=sinks is not None,
            HAS_ORIGIN=origin is not None, **self._overlap,
        )  # fmt: skip
        return out

    def _num_splits(self, num_blocks: int) -> int:
        """Enough programs to fill the device, in a power of two."""
        wanted = self._num_processors * _PROGRAMS_PER_PROCESSOR
        splits = wanted // (self._shape.num_kv_heads * num_blocks)
        return min(_MOST_SPLITS, 1 << max(0, splits.bit_length() - 1))
