"""Counters and histograms over all runs since the start, and a log line for each."""

import logging
import threading
from typing import NamedTuple

from app.runs.histogram import Histogram
from app.runs.logs import fields
from app.runs.run import Run
from core.trace.events import Event
from core.trace.stats import RunStats
from visualize.run_facts import run_facts

# Half a millisecond to half a minute, each about twice the one before.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_TOKENS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)

_log = logging.getLogger("specdecodes.runs")


class Reading(NamedTuple):
    """What readers of answers have waited for, over all ended runs."""

    first_text_s: Histogram
    """From the start of a run to its first text, without the time in the queue."""
    pauses_s: Histogram
    """Between a text and the next one of the same answer."""
    bursts: Histogram
    """Tokens that arrived at once."""

    def copy(self) -> "Reading":
        """One that does not change with this."""
        return Reading(*(histogram.copy() for histogram in self))


class RunTotals:
    """Implements `app.runs.run.RunSink` for all runs; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats = RunStats()
        self._num_runs = 0
        self._reading = Reading(Histogram(_SECONDS), Histogram(_SECONDS), Histogram(_TOKENS))

    def add(self, event: Event) -> None:
        """See `RunSink.add`: a run counts when it has ended."""

    def end(self, run: Run) -> None:
        """Counts an ended run and logs it under its id; what was said in it is not logged."""
        stats, facts, pauses = run.stats, run_facts(run.snapshot()), run.pauses
        with self._lock:
            run.add_stats_to(self._stats)
            self._num_runs += 1
            if pauses.first_s is not None:
                self._reading.first_text_s.add([pauses.first_s])
            self._reading.pauses_s.add(pauses.pauses_s)
            self._reading.bursts.add(pauses.bursts)
        values = fields(
            run_id=run.run_id,
            mode=run.mode,
            outcome=facts.outcome,
            error=facts.error,
            tokens=stats["num_tokens"],
            steps=stats["num_steps"],
            seconds=round(stats["total_s"], 3),
        )
        _log.info("a run ended", extra=values)

    def reading(self) -> Reading:
        """A copy of what readers have waited for."""
        with self._lock:
            return self._reading.copy()

    def read(self) -> tuple[int, RunStats]:
        """Number of runs, and a copy of their added counters."""
        with self._lock:
            copy = RunStats()
            copy.merge(self._stats)
            return self._num_runs, copy
