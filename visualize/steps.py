"""A trace as steps: the four events that belong together, and the times of their phases."""

import math
from typing import NamedTuple, TypeVar

from core.events import Accepted, Committed, Drafted, Event, Verified
from core.trace import Trace

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


def complete_steps(trace: Trace) -> list[Step]:
    """The steps of a run in order; one cut off before its end is left out."""
    steps = []
    drafted: Drafted | None = None
    verified: Verified | None = None
    accepted: Accepted | None = None
    for event in trace.events:
        match event:
            case Drafted():
                drafted, verified, accepted = event, None, None
            case Verified():
                verified = event
            case Accepted():
                accepted = event
            case Committed():
                if drafted and verified and accepted:
                    steps.append(Step(drafted, verified, accepted, event))
                drafted, verified, accepted = None, None, None
    return steps


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
