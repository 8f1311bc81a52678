"""Counters over all runs since the start, and a log line for each."""

import logging
import threading

from app.logs import fields
from app.run_record import RunRecord
from core.stats import RunStats
from visualize.run_facts import run_facts

_log = logging.getLogger("specdecodes.runs")


class RunTotals:
    """Adds ended runs up; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats = RunStats()
        self._num_runs = 0

    def add(self, record: RunRecord) -> None:
        """Counts an ended run and logs it under its id; what was said in it is not logged."""
        with self._lock:
            record.add_stats_to(self._stats)
            self._num_runs += 1
        stats, facts = record.stats, run_facts(record.snapshot())
        values = fields(
            run_id=record.run_id,
            mode=record.mode,
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
