"""Counters over all runs since the start, and a log line for each."""

import logging
import threading

from app.runs.logs import fields
from app.runs.run import Run
from core.trace.events import Event
from core.trace.stats import RunStats
from visualize.run_facts import run_facts

_log = logging.getLogger("specdecodes.runs")


class RunTotals:
    """Implements `app.runs.run.RunSink` for all runs; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats = RunStats()
        self._num_runs = 0

    def add(self, event: Event) -> None:
        """See `RunSink.add`: a run counts when it has ended."""

    def end(self, run: Run) -> None:
        """Counts an ended run and logs it under its id; what was said in it is not logged."""
        with self._lock:
            run.add_stats_to(self._stats)
            self._num_runs += 1
        stats, facts = run.stats, run_facts(run.snapshot())
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

    def read(self) -> tuple[int, RunStats]:
        """Number of runs, and a copy of their added counters."""
        with self._lock:
            copy = RunStats()
            copy.merge(self._stats)
            return self._num_runs, copy
