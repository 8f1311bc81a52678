"""One run from request to archive: its events, its status, and who hears of them."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from app.messages import RunMessage, RunPhase, RunStatus
from app.runs.logs import fields
from app.runs.watchers import GIVEN_UP, Watchers
from app.runs.wire import events_for_page
from core.config import RunConfig
from core.errors import shown
from core.runtime.strict_json import dumps
from core.trace.events import (
    Committed,
    Drafted,
    Event,
    Prefilled,
    RunFailed,
    RunFinished,
    RunStarted,
)
from core.trace.failures import describe_failure
from core.trace.file import Trace
from core.trace.fork import Fork
from core.trace.pauses import Pauses
from core.trace.stats import RunStats

# A reader is woken when a step is complete, not for each of its events.
_COMPLETE = (RunStarted, Prefilled, Committed, RunFinished, RunFailed)
_ENDINGS = {
    "eos": "Finished",
    "stop_string": "Ended before {stop}",
    "length": "Reached the token limit",
    "context": "The model's context is full",
    "stopped": "Stopped",
}

_log = logging.getLogger(__name__)


class RunSink(Protocol):
    """Wants to hear of a run: disk, metrics, log. The page reads the run itself."""

    def add(self, event: Event) -> None:
        """An event has happened; nothing is raised."""
        ...

    def end(self, run: "Run") -> None:
        """No event comes any more; raises OSError where something could not be kept."""
        ...


class Outcome(NamedTuple):
    """How a run ended, in words."""

    phase: RunPhase
    text: str
    error: str = ""
    """Name of the error's class, where it failed."""


class Run:
    """Written by the run's thread, read by any number of listeners."""

    def __init__(
        self,
        run_id: str,
        user_text: str,
        mode: str,
        replaces: str | None = None,
        *,
        turn_id: str | None = None,
        after_id: str | None = None,
    ):
        """It replaces a run, is another answer of the turn that began with a run, and follows upon one,
        where it does."""
        self.run_id = run_id
        self.turn_id = turn_id or run_id
        self.after_id = after_id
        self.config: RunConfig | None = None
        """As it was asked for; None where the run was read back from a trace."""
        self.fork: Fork | None = None
        """Where it is a branch of another run."""
        self.sinks: list[RunSink] = []
        self.outcome: Outcome | None = None
        """How it ended; None while it goes on, and where no event has told it."""
        self.is_given_up = False
        """Whether it was stopped since nobody watched."""
        self._is_closed = False
        self.user_text = user_text
        self.mode = mode
        self.replaces = replaces
        self.stop = threading.Event()
        self.trace = Trace()
        self.num_nodes = 0
        self._stats = RunStats()
        self.pauses = Pauses()
        """When its text reached the reader."""
        self._published = 0
        self._status: RunStatus = {
            "phase": "queued",
            "text": "Waiting for the engine",
            "done": 0,
            "total": 0,
        }
        self._version = 0
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self.watchers = Watchers()
        self.began_s: float | None = time.monotonic()
        """Of the monotonic clock; None where the run was read back from a trace."""
        self.ended_s: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether it holds an engine that computes."""
        return self._status["phase"] == "running"

    @property
    def is_ended(self) -> bool:
        return self._status["phase"] in ("ended", "failed")

    @property
    def status_text(self) -> str:
        """What is happening, or how it ended."""
        return str(self._status["text"])

    @property
    def failure(self) -> str | None:
        """Why the run failed; None where it did not."""
        return self.status_text if self._status["phase"] == "failed" else None

    @property
    def stats(self) -> dict[str, Any]:
        """Counts and times so far, as a trace's end has them."""
        with self._changed:
            return self._stats.to_dict()

    def add_stats_to(self, totals: RunStats) -> None:
        """Adds the counters so far to others."""
        with self._changed:
            totals.merge(self._stats)

    @property
    def num_tokens(self) -> int:
        return self._stats.num_tokens

    @property
    def answer(self) -> str:
        """The generated text so far."""
        with self._changed:
            return self.trace.text

    def snapshot(self) -> Trace:
        """The trace so far, safe to read while the run goes on."""
        with self._changed:
            return Trace(list(self.trace.events))

    def add(self, event: Event) -> None:
        """Appends an event; at the end of a step the readers wake."""
        with self._changed:
            self.trace.events.append(event)
            self._stats.add(event)
            self.pauses.add(event)
            if isinstance(event, Drafted):
                self.num_nodes += len(event.token_ids)
            if isinstance(event, _COMPLETE):
                self._published = len(self.trace.events)
                self._wake()
        for sink in self.sinks:
            sink.add(event)
        if isinstance(event, RunFailed):
            self.outcome = Outcome("failed", event.message, event.error)
        elif isinstance(event, RunFinished):
            is_left = self.is_given_up and event.reason == "stopped"
            ending = _ENDINGS[event.reason].format(stop=shown(event.stop))
            self.outcome = Outcome("ended", GIVEN_UP if is_left else ending)

    def close(self, otherwise: Outcome) -> None:
        """Tells the sinks and then the page of the end, once; `otherwise` where no event told it.

        A disk that refuses is told beside how the run ended.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self.outcome = self.outcome or otherwise
        phase, text = self.outcome.phase, self.outcome.text
        for sink in self.sinks if self.trace.events else ():
            try:
                sink.end(self)
            except OSError as error:
                text = f"{text}; it could not be kept: {error.strerror or error}"
            except Exception as error:  # it has ended all the same, and its visitor waits for that
                _log.exception("a run could not be kept", extra=fields(run_id=self.run_id))
                text = f"{text}; it could not be kept: {describe_failure(error)}"
        self.set_status(phase, text)

    def set_status(self, phase: RunPhase, text: str, done: int = 0, total: int = 0) -> None:
        """Says what is happening, in words for the page; nothing comes after an end."""
        status: RunStatus = {"phase": phase, "text": text, "done": done, "total": total}
        with self._changed:
            if status != self._status and not self.is_ended:
                self._status = status
                if self.is_ended:
                    self.ended_s = time.monotonic()
                self._published = len(self.trace.events)
                self._wake()

    def _wake(self) -> None:
        self._version += 1
        self._changed.notify_all()
        for listener in self._listeners:
            listener()

    @property
    def version(self) -> int:
        """Grows whenever the readers have something new."""
        return self._version

    def wait(self, version: int, timeout_s: float) -> int:
        """The present version, at once if it is not the given one, else after a change."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout_s)
            return self._version

    def listen(self, listener: Callable[[], None]) -> None:
        """Has a function called, from whatever thread, whenever the readers have something new."""
        with self._changed:
            self._listeners.append(listener)

    def news(self, first: int) -> tuple[list[Event], bool]:
        """All events that are new from event `first` on, and whether none comes after them."""
        with self._changed:
            return self.trace.events[first : self._published], self.is_ended

    def message(self, first: int) -> tuple[str, int]:
        """All that is new from event `first` on, as one JSON string, and the next `first`.

        The page compares `seq`, the index of the first event, with what it has: on a gap it asks
        for a message from its own count on.
        """
        with self._changed:
            first = min(max(first, 0), self._published)
            events = self.trace.events[: self._published]
            body: RunMessage = {
                "run": self.run_id,
                "seq": first,
                "status": self._status,
                "events": [],
            }
            next_first = self._published
            if first < self._published or self.is_ended:
                body["stats"] = self._stats.to_dict()
                body["pauses"] = self.pauses.to_dict()
        if first == 0:
            body["turn"] = {
                "user": self.user_text,
                "mode": self.mode,
                "replaces": self.replaces,
                "turn": self.turn_id,
                "after": self.after_id,
            }
        body["events"] = list(events_for_page(events, first))
        return dumps(body, ensure_ascii=False, separators=(",", ":")), next_first
