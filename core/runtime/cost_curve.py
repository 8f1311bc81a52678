"""T(n): seconds of one target forward over n rows, measured once and kept on disk.

A step's tree is as large as this curve makes pay, so it is measured on the machine, the model, the
number format and about the context length of the run.
"""

import hashlib
import json
import os
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from core.config import MAX_TREE_NODES
from core.verifier import Verifier

ROWS = (1, 2, 4, 8, 16, 32, 64)
CONTEXT_BUCKETS = (256, 1024, 4096)
_MEASURING_BUDGET_S = 2.0
_MIN_ROUNDS = 3


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


def measure(
    backend: Verifier,
    context_length: int,
    clock: Callable[[], float] = time.perf_counter,
) -> CostCurve:
    """Times forwards of every size in turn for about two seconds; takes each one's median.

    The backend's cache is overwritten: give it one of its own.
    """
    backend.reserve(context_length + MAX_TREE_NODES)
    backend.cache.storage.zero_()
    backend.cache.truncate(context_length)
    causal = torch.ones(ROWS[-1], ROWS[-1], dtype=torch.bool).tril()
    times: dict[int, list[float]] = {rows: [] for rows in ROWS}
    started = clock()
    num_rounds = 0
    while num_rounds < _MIN_ROUNDS or clock() - started < _MEASURING_BUDGET_S:
        for rows in ROWS:
            positions = range(context_length, context_length + rows)
            before = clock()
            backend.forward_rows([0] * rows, positions, causal[:rows, :rows])
            backend.synchronize()
            times[rows].append(clock() - before)
        num_rounds += 1
    # The first round warms kernels up and is left out.
    return CostCurve(ROWS, tuple(median(times[rows][1:]) for rows in ROWS))


def load_or_measure(
    folder: Path, key: tuple[str, ...], backend_of: Callable[[], Verifier], length: int
) -> CostCurve:
    """The curve for a key (model, dtype, device, threads, ...) from disk, or measured now.

    A file that cannot be read is measured anew; one that cannot be written is done without.
    """
    digest = hashlib.sha256(json.dumps([*key, length]).encode()).hexdigest()[:20]
    path = folder / f"{digest}.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return CostCurve(ROWS, tuple(float(values["seconds"][str(rows)]) for rows in ROWS))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    curve = measure(backend_of(), length)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        seconds = {str(rows): s for rows, s in zip(curve.rows, curve.seconds, strict=True)}
        temporary.write_text(json.dumps({"key": [*key], "length": length, "seconds": seconds}))
        temporary.replace(path)
    except OSError:
        pass
    return curve
