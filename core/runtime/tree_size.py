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
