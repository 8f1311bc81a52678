"""A trace as steps: the four events that belong together, and the times of their phases."""

import math
from typing import NamedTuple, TypeVar

from core.trace.events import Accepted, Committed, Drafted, Event, Verified
from core.trace.file import Trace

ValueT = TypeVar("ValueT")


class PhaseTimes(NamedTuple):
    """Milliseconds of a step by phase; together they are the whole step."""

    draft_ms: float
    verify_ms: float
    accept_ms: float
    commit_ms: float
    other_ms: float
    """Recording and bookkeeping: what the four phases leave of the step."""


class Step(NamedTuple):
    """One complete step."""

    drafted: Drafted
    verified: Verified
    accepted: Accepted
    committed: Committed

    @property
    def number(self) -> int:
        return self.committed.step

    @property
    def times(self) -> PhaseTimes:
        draft_ms, verify_ms = duration_ms(self.drafted), duration_ms(self.verified)
        accept_ms, commit_ms = duration_ms(self.accepted), duration_ms(self.committed)
        phases_ms = draft_ms + verify_ms + accept_ms + commit_ms
        other_ms = max(0.0, self.committed.step_s * 1e3 - phases_ms)
        return PhaseTimes(draft_ms, verify_ms, accept_ms, commit_ms, other_ms)

    def parent_of(self, index: int) -> int:
        """The node whose target distribution judged or gave the emitted token at `index`."""
        return self.accepted.path[index - 1] if index else 0


def duration_ms(event: Event) -> float:
    return (event.t_end_s - event.t_start_s) * 1e3


class StepEvents:
    """Puts the events of a step together as they come."""

    def __init__(self) -> None:
        self._drafted: Drafted | None = None
        self._verified: Verified | None = None
        self._accepted: Accepted | None = None

    def add(self, event: Event) -> Step | None:
        """The step that an event ends; None for other events, and where one of the step's is not
        there."""
        match event:
            case Drafted():
                self._drafted, self._verified, self._accepted = event, None, None
            case Verified():
                self._verified = event
            case Accepted():
                self._accepted = event
            case Committed():
                parts = self._drafted, self._verified, self._accepted
                self._drafted = self._verified = self._accepted = None
                if parts[0] and parts[1] and parts[2]:
                    return Step(parts[0], parts[1], parts[2], event)
        return None


def complete_steps(trace: Trace) -> list[Step]:
    """The steps of a run in order; one cut off before its end is left out."""
    open_step = StepEvents()
    return [step for event in trace.events if (step := open_step.add(event)) is not None]


def logit_gap(top_k_probs: list[float]) -> float | None:
    """Distance of the two best logits; None where fewer than two are recorded."""
    return log_ratio(top_k_probs[0], top_k_probs[1]) if len(top_k_probs) > 1 else None


def log_ratio(prob: float, other_prob: float) -> float | None:
    """Distance of two tokens' logits; None where a probability vanished in rounding."""
    if min(prob, other_prob) <= 0.0:
        return None
    return math.log(prob) - math.log(other_prob)


def entry(values: list[ValueT], index: int) -> ValueT | None:
    """The entry at `index`; None where recording was off and the list is empty."""
    return values[index] if values else None
