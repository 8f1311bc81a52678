"""Counters of a run, added up from its events; ratios are made last."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.trace.events import Accepted, Committed, Drafted, Event, Prefilled, Verified


@dataclass(slots=True)
class RunStats:
    """Raw counts and times of one run. `add` every event in order."""

    num_tokens: int = 0
    """Tokens emitted."""
    num_steps: int = 0
    num_drafted: int = 0
    num_tested: int = 0
    num_accepted: int = 0
    prefill_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    """Forward passes of the target over the trees."""
    accept_s: float = 0.0
    commit_s: float = 0.0
    steps_s: float = 0.0
    """Whole steps; what the four phases leave of it is recording and bookkeeping."""

    def add(self, event: Event) -> None:
        """Counts one event; kinds without numbers change nothing."""
        duration_s = event.t_end_s - event.t_start_s
        match event:
            case Prefilled():
                self.prefill_s += duration_s
            case Drafted():
                self.num_drafted += len(event.token_ids) - 1
                self.draft_s += duration_s
            case Verified():
                self.verify_s += duration_s
            case Accepted():
                self.num_tested += len(event.tested)
                self.num_accepted += len(event.path)
                self.accept_s += duration_s
            case Committed():
                self.num_steps += 1
                self.num_tokens += len(event.token_ids)
                self.commit_s += duration_s
                self.steps_s += event.step_s

    def merge(self, other: "RunStats") -> None:
        """Adds the counters of another run."""
        for item in dataclasses.fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted over tested draft tokens; None where none was tested."""
        return self.num_accepted / self.num_tested if self.num_tested else None

    @property
    def acceptance_length(self) -> float | None:
        """Tau: mean tokens emitted a step, the target's own token included.

        All steps count, those without a draft and a last one that the run's end cut short as well.
        Engines differ in that: a mean over the steps that drafted is larger.
        """
        return self.num_tokens / self.num_steps if self.num_steps else None

    @property
    def tokens_per_s(self) -> float | None:
        """Emitted tokens over the time of the steps; the prefill is apart."""
        return self.num_tokens / self.steps_s if self.steps_s else None

    @property
    def other_s(self) -> float:
        """Recording, event making and bookkeeping inside the steps."""
        phases_s = self.draft_s + self.verify_s + self.accept_s + self.commit_s
        return max(0.0, self.steps_s - phases_s)

    @property
    def total_s(self) -> float:
        return self.prefill_s + self.steps_s

    def to_dict(self) -> dict[str, Any]:
        """All counters, times and ratios under the names of the command line's `stats`."""
        return {
            **dataclasses.asdict(self),
            "other_s": self.other_s,
            "total_s": self.total_s,
            "acceptance_rate": self.acceptance_rate,
            "acceptance_length": self.acceptance_length,
            "tokens_per_s": self.tokens_per_s,
        }


def collect_stats(events: list[Event]) -> RunStats:
    """The stats of a whole run."""
    stats = RunStats()
    for event in events:
        stats.add(event)
    return stats
