"""How large a draft tree pays: expected tokens of a step over its measured cost."""

from collections.abc import Sequence

from core.drafters.base import CostOfRows

# Drafting must promise at least this much more than plain decoding, for the estimate has noise.
_MIN_GAIN = 1.02


def best_size(reach: Sequence[float], cost: CostOfRows, extra_s: float = 0.0) -> int:
    """Number of draft nodes with the most expected tokens per second; 0 where none pays.

    `reach` is the chance of each node, in order, that it is accepted; the target's own token adds
    one. `extra_s` is what making the draft costs.
    """
    best, best_rate = 0, _MIN_GAIN / cost(1)
    expected_tokens = 1.0
    for size, chance in enumerate(reach, start=1):
        expected_tokens += chance
        rate = expected_tokens / (cost(size + 1) + extra_s)
        if rate > best_rate:
            best, best_rate = size, rate
    return best


def pays_to_continue(
    reach: Sequence[float],
    next_gain: float,
    cost: CostOfRows,
    spent_s: float,
    next_s: float,
) -> bool:
    """Whether one more level of drafting raises the expected tokens per second.

    `reach` are the chances of the nodes so far, best first; `next_gain` is the number of accepted
    tokens that the next level promises, `next_s` what it costs.
    """
    best_rate = 1.0 / cost(1)
    expected_tokens = 1.0
    size = 0
    for size, chance in enumerate(reach, start=1):
        expected_tokens += chance
        best_rate = max(best_rate, expected_tokens / (cost(size + 1) + spent_s))
    longer_s = cost(size + 2) + spent_s + next_s
    return (expected_tokens + next_gain) / longer_s > best_rate
