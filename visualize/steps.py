"""A trace as steps: the four events that belong together, and the times of their phases."""

import math
from typing import Literal, NamedTuple, TypeVar

from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    Event,
    Observed,
    RunStarted,
    Verified,
)
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

    @property
    def drafter(self) -> str:
        return self.drafted.drafter

    @property
    def start_s(self) -> float:
        return self.drafted.t_start_s

    @property
    def num_forwards(self) -> int:
        return 1

    @property
    def num_drafted(self) -> int:
        return len(self.drafted.token_ids) - 1

    @property
    def num_tested(self) -> int:
        return len(self.accepted.tested)

    @property
    def num_accepted(self) -> int:
        return len(self.accepted.path)

    @property
    def max_depth(self) -> int:
        return max(self.drafted.depths)

    @property
    def num_rows(self) -> int:
        return self.verified.num_rows

    def parent_of(self, index: int) -> int:
        """The node whose target distribution judged or gave the emitted token at `index`."""
        return self.accepted.path[index - 1] if index else 0


class SeenStep(NamedTuple):
    """A step of a server, or what cannot be told from one: None is what nobody knows of it."""

    observed: Observed
    committed: Committed

    @property
    def drafter(self) -> str:
        return "server"

    @property
    def max_depth(self) -> None:
        return None

    @property
    def num_rows(self) -> None:
        return None

    @property
    def times(self) -> None:
        return None

    @property
    def number(self) -> int:
        return self.committed.step

    @property
    def start_s(self) -> float:
        return self.observed.t_start_s

    @property
    def num_forwards(self) -> int | None:
        """At least one; exact where the server's counters say so."""
        return None if self.observed.border == "none" else self.observed.num_steps

    @property
    def num_drafted(self) -> int | None:
        return self.observed.num_drafted

    @property
    def num_tested(self) -> int | None:
        return self.observed.num_tested

    @property
    def num_accepted(self) -> int | None:
        return self.observed.num_accepted


AnyStep = Step | SeenStep


def duration_ms(event: Event) -> float:
    return (event.t_end_s - event.t_start_s) * 1e3


class StepEvents:
    """Puts the events of a step together as they come."""

    def __init__(self) -> None:
        self._drafted: Drafted | None = None
        self._verified: Verified | None = None
        self._accepted: Accepted | None = None
        self._observed: Observed | None = None

    def add(self, event: Event) -> AnyStep | None:
        """The step that an event ends; None for other events, and where one of the step's is not
        there."""
        match event:
            case Drafted():
                self._drafted, self._verified, self._accepted = event, None, None
                self._observed = None
            case Observed():
                self._observed = event
            case Verified():
                self._verified = event
            case Accepted():
                self._accepted = event
            case Committed():
                parts = self._drafted, self._verified, self._accepted
                observed, self._observed = self._observed, None
                if observed is not None:
                    return SeenStep(observed, event)
                self._drafted = self._verified = self._accepted = None
                if parts[0] and parts[1] and parts[2]:
                    return Step(parts[0], parts[1], parts[2], event)
        return None


def complete_steps(trace: Trace) -> list[Step]:
    """The steps of a run in order, with their trees; one cut off before its end is left out, and those
    of a server, which have no tree."""
    return [step for step in all_steps(trace) if isinstance(step, Step)]


def all_steps(trace: Trace) -> list[AnyStep]:
    """The steps of a run in order, those of a server as far as they can be told apart."""
    open_step = StepEvents()
    return [step for event in trace.events if (step := open_step.add(event)) is not None]


class GivenToken(NamedTuple):
    """A token with which the answer of a branch begins."""

    token_id: int
    text: str
    """What it adds to the text."""
    source: Literal["inherited", "chosen"]
    """The parent's own, or chosen in place of it."""


def given_tokens(trace: Trace) -> list[GivenToken]:
    """Those of a branch in order; none of other runs."""
    started = trace.first(RunStarted)
    if started is None or started.forked_at is None:
        return []
    return [
        GivenToken(token_id, text, "chosen" if place >= started.forked_at else "inherited")
        for place, (token_id, text) in enumerate(
            zip(started.prefix_token_ids, started.prefix_texts, strict=True)
        )
    ]


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
