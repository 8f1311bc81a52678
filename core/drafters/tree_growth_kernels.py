"""Choosing children and what to expand next as Triton kernels: a level of a draft is three of them.

As torch's operations, some fifty a level, they take longer than a small drafter's forward.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from core.drafters.calibration import NUM_BINS, NUM_RANKS, PRIOR_RATES, PRIOR_WEIGHT
from core.drafters.tree_growth_device import Frontier, Selected

# Logits that one program looks through.
_SHARE = 1024


@triton.jit
def _shares(
    logits, stride, size, values, ids, highest, totals,
    COUNT: tl.constexpr, SHARE: tl.constexpr,
):  # fmt: skip
    """The largest logits of a share of a row, equal ones by their ids, and its sum of exponentials."""
    row, share = tl.program_id(0), tl.program_id(1)
    lanes = tl.arange(0, SHARE)
    place = share * SHARE + lanes
    given = tl.load(logits + row * stride + place, mask=place < size, other=float("-inf"))
    top = tl.max(given, axis=0)
    safe_top = tl.where(top == float("-inf"), 0.0, top)
    number = row * tl.num_programs(1) + share
    tl.store(highest + number, top)
    tl.store(totals + number, tl.sum(tl.exp(given - safe_top), axis=0))
    # What is excluded still comes before what was taken, or is not there.
    left = tl.where(place < size, tl.maximum(given, -3.4e38), float("-inf"))
    for rank in tl.static_range(COUNT):
        best = tl.argmax(left, axis=0)
        tl.store(values + number * COUNT + rank, tl.max(left, axis=0))
        tl.store(ids + number * COUNT + rank, share * SHARE + best)
        left = tl.where(lanes == best, float("-inf"), left)


@triton.jit
def _best_of_shares(
    values, ids, highest, totals, target_ids, out_ids, out_probs, size, shares,
    COUNT: tl.constexpr, CANDIDATES: tl.constexpr, SHARES: tl.constexpr, IS_REDUCED: tl.constexpr,
):  # fmt: skip
    """The largest logits of a row with their probabilities, of those of all its shares."""
    row = tl.program_id(0)
    share = tl.arange(0, SHARES)
    is_share = share < shares
    tops = tl.load(highest + row * shares + share, mask=is_share, other=float("-inf"))
    sums = tl.load(totals + row * shares + share, mask=is_share, other=0.0)
    top = tl.max(tops, axis=0)
    safe_tops = tl.where(tops == float("-inf"), top, tops)
    log_total = top + tl.log(tl.sum(sums * tl.exp(safe_tops - top), axis=0))
    lanes = tl.arange(0, CANDIDATES)
    is_there = lanes < shares * COUNT
    first = row * shares * COUNT
    left = tl.load(values + first + lanes, mask=is_there, other=float("-inf"))
    for rank in tl.static_range(COUNT):
        best = tl.argmax(left, axis=0)
        prob = tl.exp(tl.max(left, axis=0) - log_total)
        # Among numbers that are none the best may stand anywhere; the step is done again without them.
        token_id = tl.load(ids + first + tl.minimum(best, shares * COUNT - 1))
        token_id = tl.minimum(token_id, size - 1)
        if IS_REDUCED:
            token_id = tl.load(target_ids + token_id)
        tl.store(out_ids + row * COUNT + rank, token_id)
        tl.store(out_probs + row * COUNT + rank, prob)
        left = tl.where(lanes == best, float("-inf"), left)


@triton.jit
def _select(
    ids, probs, chance, above, tables, reach,
    next_nodes, next_ids, next_chance, next_places, next_above, first_row, num_pool, num_rows,
    WIDTH: tl.constexpr, CANDIDATES: tl.constexpr, LEVEL_ROWS: tl.constexpr, LANES: tl.constexpr,
    RANKS: tl.constexpr, BINS: tl.constexpr, WEIGHT: tl.constexpr, FIRST: tl.constexpr,
    SECOND: tl.constexpr, OTHERS: tl.constexpr, PROB_IS_CHANCE: tl.constexpr,
):  # fmt: skip
    """Chances of all children, and of those the best, likeliest first and equal ones in order.

    A program is for one sequence.
    """
    sequence = tl.program_id(0)
    lanes = tl.arange(0, CANDIDATES)
    count = num_rows * WIDTH
    ids += sequence * count
    probs += sequence * count
    reach += sequence * count
    chance += sequence * num_rows
    above += sequence * num_rows * LEVEL_ROWS
    next_nodes += sequence * WIDTH
    next_ids += sequence * WIDTH
    next_chance += sequence * WIDTH
    next_places += sequence * WIDTH
    next_above += sequence * WIDTH * LEVEL_ROWS
    is_there = lanes < count
    prob = tl.load(probs + lanes, mask=is_there, other=0.0).to(tl.float64)
    rank = lanes % WIDTH
    column = tl.minimum(tl.maximum((prob * BINS).to(tl.int32), 0), BINS - 1)
    entry = tl.minimum(rank, RANKS - 1) * BINS + column
    accepted = tl.load(tables + entry)
    judged = tl.load(tables + RANKS * BINS + entry)
    if PROB_IS_CHANCE:
        prior = prob
    else:
        prior = tl.full([CANDIDATES], OTHERS, tl.float64)
        prior = tl.where(rank == 1, tl.full([CANDIDATES], SECOND, tl.float64), prior)
        prior = tl.where(rank == 0, tl.full([CANDIDATES], FIRST, tl.float64), prior)
    up = tl.load(chance + lanes // WIDTH, mask=is_there, other=0.0)
    found = up * ((accepted + WEIGHT * prior) / (judged + WEIGHT))
    tl.store(reach + lanes, found, mask=is_there)
    left = tl.where(is_there & (found == found), found, -1.0)
    row_lanes = tl.arange(0, LANES)
    is_row = row_lanes < LEVEL_ROWS
    for place in tl.static_range(WIDTH):
        best = tl.argmax(left, axis=0)
        candidate = tl.minimum(best, count - 1)
        parent = candidate // WIDTH
        tl.store(next_chance + place, tl.max(left, axis=0))
        tl.store(next_nodes + place, num_pool + candidate)
        tl.store(next_ids + place, tl.load(ids + candidate))
        tl.store(next_places + place, parent)
        seen = tl.load(above + parent * LEVEL_ROWS + row_lanes, mask=is_row, other=0)
        seen = tl.where(row_lanes == first_row + place, 1, seen)
        tl.store(next_above + place * LEVEL_ROWS + row_lanes, seen.to(tl.int8), mask=is_row)
        left = tl.where(lanes == best, -2.0, left)


def best_of_rows(
    logits: torch.Tensor,  # [rows, at least size] float32
    count: int,
    size: int,
    target_ids: torch.Tensor | None = None,  # [size]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` largest of the first `size` logits, equal ones by their ids, and their probabilities.

    `target_ids` says what an id stands for. Returns [rows, count] int64 and float32.
    """
    num_rows, shares = len(logits), triton.cdiv(size, _SHARE)
    values = logits.new_empty((num_rows, shares * count))
    ids = torch.empty_like(values, dtype=torch.int64)
    highest, totals = logits.new_empty((2, num_rows, shares)).unbind(0)
    out_ids = ids.new_empty((num_rows, count))
    out_probs = logits.new_empty((num_rows, count))
    _shares[(num_rows, shares)](
        logits, logits.stride(0), size, values, ids, highest, totals, COUNT=count, SHARE=_SHARE
    )
    _best_of_shares[(num_rows,)](
        values, ids, highest, totals, ids if target_ids is None else target_ids, out_ids, out_probs,
        size, shares,
        COUNT=count, CANDIDATES=triton.next_power_of_2(shares * count),
        SHARES=triton.next_power_of_2(shares), IS_REDUCED=target_ids is not None,
    )  # fmt: skip
    return out_ids, out_probs


@dataclass(frozen=True, slots=True)
class KernelSelection:
    """Implements `core.drafters.tree_growth_device.Select`."""

    tables: torch.Tensor  # [2, ranks, bins] float64
    prob_is_chance: bool

    def __call__(
        self,
        ids: torch.Tensor,
        probs: torch.Tensor,
        frontier: Frontier,
        first_row: int,
        num_pool: int,
    ) -> Selected:
        """See `Select`."""
        sequences, num_rows, level_rows = frontier.above.shape
        width, chance = ids.shape[1], frontier.chance
        reach = chance.new_empty((sequences, num_rows * width))
        following = Frontier(
            nodes=ids.new_empty((sequences, width)),
            token_ids=ids.new_empty((sequences, width)),
            chance=chance.new_empty((sequences, width)),
            parent_places=ids.new_empty((sequences, width)),
            above=frontier.above.new_empty((sequences, width, level_rows)),
        )
        _select[(sequences,)](
            ids.contiguous(), probs.contiguous(), chance, frontier.above.view(torch.int8), self.tables,
            reach, following.nodes, following.token_ids, following.chance, following.parent_places,
            following.above.view(torch.int8), first_row, num_pool, num_rows,
            WIDTH=width, CANDIDATES=triton.next_power_of_2(num_rows * width), LEVEL_ROWS=level_rows,
            LANES=triton.next_power_of_2(max(level_rows, 1)), RANKS=NUM_RANKS, BINS=NUM_BINS,
            WEIGHT=PRIOR_WEIGHT, FIRST=PRIOR_RATES[0], SECOND=PRIOR_RATES[1], OTHERS=PRIOR_RATES[2],
            PROB_IS_CHANCE=self.prob_is_chance,
        )  # fmt: skip
        return Selected(reach, following)
