"""T(n): seconds of one forward over n rows, measured once and kept on disk.

A step's tree is as large as this curve makes pay, so it is measured on the machine, the model, the
number format and about the context length of the run.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from core.runtime.json_cache import load_json, save_json

if TYPE_CHECKING:
    from core.backends.runner import ModelRunner

# Kernels that meet rows in panels of four take a step behind 4 and 8, where most trees end.
ROWS = (1, 2, 4, 5, 8, 9, 16, 32, 64)
CONTEXT_BUCKETS = (256, 1024, 4096)
_BUDGET_S = 2.0
# Sizes are tried until one takes a share of the budget; the curve's slope goes on beyond.
_LONGEST_FORWARD_S = 0.15
_MIN_SIZES = 2
_MIN_ROUNDS = 3
# On a busy machine the median is far above the fastest forward, or this thread waits for a
# processor; such a curve is not kept.
_STEADY_RATIO = 1.5
_STEADY_SHARE = 0.75


@dataclass(frozen=True)
class CostCurve:
    """Measured points, joined by straight lines; beyond the last one its slope goes on."""

    rows: tuple[int, ...]
    seconds: tuple[float, ...]

    def __call__(self, rows: int) -> float:
        """Expected seconds of a forward over `rows` rows."""
        index = min(max(bisect_left(self.rows, rows), 1), len(self.rows) - 1)
        low, high = self.rows[index - 1], self.rows[index]
        slope = (self.seconds[index] - self.seconds[index - 1]) / (high - low)
        return max(self.seconds[index - 1] + slope * (rows - low), 1e-9)

    def to_ms(self) -> dict[str, float]:
        """Milliseconds by rows, for the trace."""
        return {
            str(rows): round(seconds * 1e3, 3)
            for rows, seconds in zip(self.rows, self.seconds, strict=True)
        }


def context_bucket(length: int, context_limit: int) -> int:
    """The measured context length nearest above `length`, within the model's context."""
    index = min(bisect_left(CONTEXT_BUCKETS, length), len(CONTEXT_BUCKETS) - 1)
    return max(1, min(CONTEXT_BUCKETS[index], context_limit - ROWS[-1]))


class Measurement(NamedTuple):
    """A curve, and whether the machine was quiet enough to trust it another time."""

    curve: CostCurve
    is_steady: bool


def measure(
    backend: "ModelRunner",
    context_length: int,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.thread_time,
) -> Measurement:
    """Times forwards of every size in turn for about two seconds; takes each one's fastest.

    The backend's cache is overwritten: give it one of its own.
    """
    import torch  # a curve that was measured is read without it

    most = 2 * ROWS[-1]
    backend.reserve(context_length + most)
    causal = torch.ones(most, most, dtype=torch.bool).tril()
    # No more than is read, for memory comes when it is touched.
    for storage in backend.cache.storages():
        storage[..., : context_length + most, :].zero_()
    backend.forward_rows([0], [0], causal[:1, :1])  # layers make what they keep

    def seconds_of(rows: int) -> float:
        # A refused chain leaves rows that the next step computes again: half of them, where all
        # lengths are as likely.
        count = rows if backend.can_branch else rows + rows // 2
        positions = range(context_length, context_length + count)
        backend.cache.pretend(context_length)
        before = clock()
        backend.forward_rows([0] * count, positions, causal[:count, :count])
        backend.synchronize()
        return clock() - before

    started, cpu_started = clock(), cpu_clock()
    times: dict[int, list[float]] = {}
    for rows in ROWS:
        seconds_of(rows)  # kernels warm up
        times[rows] = [seconds_of(rows)]
        if len(times) >= _MIN_SIZES and times[rows][0] > _LONGEST_FORWARD_S:
            break
    num_rounds = 1
    while num_rounds < _MIN_ROUNDS or clock() - started < _BUDGET_S:
        for rows, found in times.items():
            found.append(seconds_of(rows))
        num_rounds += 1
    is_even = all(median(found) < _STEADY_RATIO * min(found) for found in times.values())
    is_alone = cpu_clock() - cpu_started >= _STEADY_SHARE * (clock() - started)
    is_steady = is_even and (is_alone or backend.device.type != "cpu")
    # Fewer rows never take longer; where they seem to, more rows before them had emptied the caches.
    fastest = list(accumulate(map(min, reversed(times.values())), min))
    return Measurement(CostCurve(tuple(times), tuple(reversed(fastest))), is_steady)


def load_or_measure(
    folder: Path, key: str, measured: Callable[[int], Measurement], length: int
) -> CostCurve:
    """The curve for a key (model, dtype, device, threads, ...) from disk, or measured now.

    A file that cannot be read is measured anew; one that cannot be written is done without, and so
    is one of a measurement on a busy machine.
    """
    curve = load_kept(folder, key, length)
    if curve is None:
        curve, is_steady = measured(length)
        if is_steady:
            whole_key = _at(key, length)
            points = list(zip(curve.rows, curve.seconds, strict=True))
            save_json(folder, whole_key, {"key": whole_key, "points": points})
    return curve


def load_kept(folder: Path, key: str, length: int) -> CostCurve | None:
    """The curve that was measured for a key and kept on disk; None where none was."""
    return _curve_from(load_json(folder, _at(key, length)))


def _at(key: str, length: int) -> str:
    return f"{key} at {length}, rows {ROWS}"


def _curve_from(stored: Any) -> CostCurve | None:
    try:
        points = [(int(rows), float(seconds)) for rows, seconds in stored["points"]]
    except (KeyError, TypeError, ValueError):
        return None
    if len(points) < _MIN_SIZES:
        return None
    return CostCurve(tuple(rows for rows, _ in points), tuple(seconds for _, seconds in points))
