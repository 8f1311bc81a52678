"""Counts of values below bounds, as Prometheus reads them."""

import bisect
from collections.abc import Iterable, Iterator, Sequence


class Histogram:
    """Values that are only ever added."""

    def __init__(self, bounds: Sequence[float]):
        """`bounds` are the largest values of all classes but the last, which has no end; ascending."""
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Counts values; one that equals a bound is below it."""
        for value in values:
            self._counts[bisect.bisect_left(self.bounds, value)] += 1
            self._sum += value

    def copy(self) -> "Histogram":
        """One that does not change with this."""
        copied = Histogram(self.bounds)
        copied._counts, copied._sum = list(self._counts), self._sum
        return copied

    def values(self) -> Iterator[tuple[str, float]]:
        """Names and numbers of a metric's lines: what lies below each bound, the sum, the count."""
        below = 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self._counts, strict=True):
            below += count
            yield f'_bucket{{le="{bound}"}}', below
        yield "_sum", self._sum
        yield "_count", below
