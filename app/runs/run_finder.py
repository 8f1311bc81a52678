"""Finds a run wherever it is: in the chat of a page, or kept on disk."""

from typing import NamedTuple

from app.runs.archive import Archive
from app.runs.run import Run
from app.runs.run_store import RunStore
from core.trace.events import Event, RunStarted
from core.trace.file import Trace
from core.trace.fork import fork_again
from visualize.run_facts import run_facts


class FoundRun(NamedTuple):
    """A run with all its events so far."""

    mode: str
    trace: Trace


class RunFinder:
    """Looks in the store, where the id alone gives access, then on the visitor's shelf."""

    def __init__(self, store: RunStore, archive: Archive):
        self.store = store
        self.archive = archive

    def find(self, visitor: str | None, run_id: str) -> FoundRun | None:
        """None where there is no such run, or it is somebody else's."""
        record = self.store.get(run_id)
        if record is not None:
            return FoundRun(record.mode, record.snapshot())
        trace = self.archive.trace(visitor, run_id) if visitor else None
        return None if trace is None else FoundRun(run_facts(trace).mode, trace)

    def record(self, visitor: str | None, run_id: str) -> Run | None:
        """The run as pages see it, also while it goes on; None as of `find`."""
        record = self.store.get(run_id)
        if record is None:
            found = self.find(visitor, run_id)
            record = None if found is None else record_of(run_id, found.trace)
        return record

    def message(self, visitor: str | None, run_id: str) -> str | None:
        """The message that shows a whole run on the page."""
        record = self.record(visitor, run_id)
        return None if record is None else record.message(0)[0]


def record_of(run_id: str, trace: Trace) -> Run:
    """An ended record with the events of a trace."""
    facts = run_facts(trace)
    record = Run(run_id, facts.prompt_text, facts.mode)
    record.began_s = None
    started = trace.first(RunStarted)
    record.fork = fork_again(started) if started else None
    events: list[Event] = trace.events
    for event in events:
        record.add(event)
    if facts.error:
        record.set_status("failed", facts.error)
    else:
        record.set_status("ended", record.outcome.text if record.outcome else "Cut off")
    return record
