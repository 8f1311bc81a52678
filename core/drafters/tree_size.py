"""How large a draft tree pays: expected tokens of a step over its measured cost."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

from core.drafters.base import CostOfRows

ChoiceT = TypeVar("ChoiceT")

# Drafting must promise at least this much more than plain decoding: the estimate has noise, and what is
# recorded of a node costs something too.
_MIN_GAIN = 1.05


class DraftOption(NamedTuple, Generic[ChoiceT]):
    """A draft that could be made."""

    choice: ChoiceT
    expected_tokens: float
    """What its step would emit on average, the target's own token included."""
    step_s: float
    """What its step would take, drafting included."""


def best_option(options: Iterable[DraftOption[ChoiceT]], plain_s: float) -> ChoiceT | None:
    """The choice with the most expected tokens per second; None where none promises enough more
    than a plain step, which takes `plain_s`.

    Host and device choose by this, whatever they choose between.
    """
    best, best_rate = None, _MIN_GAIN / plain_s
    for choice, expected_tokens, step_s in options:
        rate = expected_tokens / step_s
        if rate > best_rate:
            best, best_rate = choice, rate
    return best


def best_size(reach: Sequence[float], cost: CostOfRows, spent_s: float = 0.0) -> int:
    """Number of draft nodes with the most expected tokens per second; 0 where none pays.

    `reach` is the chance of each node, in order, that it is accepted; the target's own token adds
    one. `spent_s` is what making the draft has cost already.
    """
    expected = accumulate(reach, initial=1.0)
    next(expected)
    options = (
        DraftOption(size, tokens, cost(size + 1) + spent_s)
        for size, tokens in enumerate(expected, start=1)
    )
    return best_option(options, cost(1) + spent_s) or 0


def expected_rate(reach: Sequence[float], cost: CostOfRows | None) -> float:
    """Expected tokens per second of a step with all these nodes, the target's own token included.

    Without a cost every step counts the same.
    """
    return (1.0 + sum(reach)) / (1.0 if cost is None else cost(len(reach) + 1))


def pays_to_continue(
    reach: Sequence[float],
    frontier_reach: float,
    hit_rate: float,
    num_levels: int,
    cost: CostOfRows,
    spent_s: float,
    level_s: float,
    pass_s: float = 0.0,
) -> bool:
    """Whether some number of further levels raises the expected tokens per second.

    `reach` are the chances of the nodes so far, best first; `frontier_reach` is the chance that one
    of the last level is accepted. Of each level behind it `hit_rate` of the chance remains, for one
    row and `level_s` seconds of drafting, beside `pass_s` for all of them. Looking further than one
    level matters where the first additional row is dear and the next ones are cheap.
    """
    expected_tokens = 1.0
    best_rate = (1.0 if spent_s else _MIN_GAIN) / (cost(1) + spent_s)
    size = 0
    for size, chance in enumerate(reach, start=1):
        expected_tokens += chance
        best_rate = max(best_rate, expected_tokens / (cost(size + 1) + spent_s))
    for ahead in range(1, num_levels + 1):
        frontier_reach *= hit_rate
        expected_tokens += frontier_reach
        step_s = cost(size + ahead + 1) + spent_s + pass_s + ahead * level_s
        if expected_tokens / step_s > best_rate:
            return True
    return False


def chain_speed(hit_rate: float, depth: int, cost: CostOfRows, draft_cost: CostOfRows) -> float:
    """Expected speed over plain decoding of the best chain of at most `depth` draft tokens.

    Leviathan et al. 2023, theorem 3.8, with measured costs; `hit_rate` is their alpha.
    """
    expected_tokens, reach, best = 1.0, 1.0, 0.0
    for length in range(1, depth + 1):
        reach *= hit_rate
        expected_tokens += reach
        step_s = cost(length + 1) + length * draft_cost(1)
        best = max(best, expected_tokens * cost(1) / step_s)
    return best
