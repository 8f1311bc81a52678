"""Counters of a run, added up from its events; ratios are made last."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    Event,
    Observed,
    Prefilled,
    ServerTotals,
    Verified,
)

Origin = Literal["told", "derived", "at least", "at most", "unknown"]
"""How a figure came about that was not measured: a server's own total alone tells it, it follows from
others, a bound is known, or nothing is."""
_WORST_LAST: tuple[Origin, ...] = ("told", "derived", "at least", "at most", "unknown")
# Of a time that two clocks tell.
_SAME_SHARE = 1e-3
_PHASES = ("draft_s", "verify_s", "accept_s", "commit_s", "other_s")
MAY_BE_UNKNOWN = ("num_steps", "num_drafted", "num_tested", "num_accepted", *_PHASES)


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
    num_untimed: int = 0
    """Tokens emitted by the forward of the prompt, where that is a server's: their time is in
    `prefill_s`."""
    origins: dict[str, Origin] = field(default_factory=dict)
    """Of the counters that were not measured. One that is unknown in part is unknown, and the counter
    holds what is known."""

    def add(self, event: Event) -> None:
        """Counts one event of a run; kinds without numbers change nothing."""
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
            case Observed():
                self._observe(event)
            case ServerTotals():
                self._take_over(event)

    def _observe(self, event: Observed) -> None:
        """Counts what is known of a server's step; its `committed` counts the rest."""
        for name in _PHASES:
            self._doubt(name, "unknown")
        self.num_steps += event.num_steps - 1
        if event.border != "counters":
            self._doubt("num_steps", "at least" if event.border == "chunk" else "unknown")
        for name in ("num_drafted", "num_tested", "num_accepted"):
            number = getattr(event, name)
            if number is None:
                self._doubt(name, "unknown")
            else:
                setattr(self, name, getattr(self, name) + number)
        if event.num_tokens is None:
            self._doubt("num_tokens", "at least")
        if event.with_prompt:
            self.num_untimed += 1 if event.border == "counters" else event.num_tokens or 1

    def _take_over(self, event: ServerTotals) -> None:
        """Where the stream left a counter in doubt, the server's own total stands for it."""
        for name in ("num_tokens", "num_steps", "num_drafted", "num_tested", "num_accepted"):
            if name in event.told and name in self.origins:
                setattr(self, name, event.told[name])
                self.origins[name] = "told"
        if "num_steps" not in self.origins or self.origins["num_steps"] == "told":
            return
        if event.confirms_steps:
            self.origins["num_steps"] = "derived"
            return
        # Pieces of the text bound nothing. Each forward emits what it accepts and one token of its own,
        # unless the end cuts it short.
        least = self.num_steps if self.origins["num_steps"] == "at least" else 0
        if not {"num_tokens", "num_accepted"} & self.in_doubt():
            least = max(least, self.num_tokens - self.num_accepted)
        if least:
            self.num_steps = max(least, event.told.get("num_draft_steps", 0))
            self.origins["num_steps"] = "at least"

    def in_doubt(self) -> set[str]:
        """Names of the counters that neither the stream nor a server's totals tell."""
        return {name for name, origin in self.origins.items() if origin != "told"}

    def _doubt(self, name: str, origin: Origin) -> None:
        """Notes where a counter comes from; the worse of two origins stays."""
        known = self.origins.get(name)
        if known is None or _WORST_LAST.index(origin) > _WORST_LAST.index(known):
            self.origins[name] = origin

    def merge(self, other: "RunStats") -> None:
        """Adds the counters of another run."""
        for name in _COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, origin in other.origins.items():
            self._doubt(name, origin)

    def known(self, name: str) -> Any:
        """A counter; None where it is unknown."""
        return None if self.origins.get(name) == "unknown" else getattr(self, name)

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted over tested draft tokens; None where none was tested, or nobody knows."""
        accepted, tested = self.known("num_accepted"), self.known("num_tested")
        return accepted / tested if tested and accepted is not None else None

    @property
    def acceptance_length(self) -> float | None:
        """Tau: mean tokens emitted a step, the target's own token included.

        All steps count, those without a draft and a last one that the run's end cut short as well.
        Engines differ in that: a mean over the steps that drafted is larger. None where the steps of
        a server are unknown.
        """
        steps = self.known("num_steps")
        return self.num_tokens / steps if steps else None

    @property
    def tokens_per_s(self) -> float | None:
        """Emitted tokens over the time of the steps; the prefill is apart, and what it emitted."""
        paced = self.num_tokens - self.num_untimed
        return paced / self.steps_s if self.steps_s else None

    @property
    def other_s(self) -> float:
        """Recording, event making and bookkeeping inside the steps."""
        phases_s = self.draft_s + self.verify_s + self.accept_s + self.commit_s
        return max(0.0, self.steps_s - phases_s)

    @property
    def total_s(self) -> float:
        return self.prefill_s + self.steps_s

    def to_dict(self) -> dict[str, Any]:
        """All counters, times and ratios under the names of the command line's `stats`; None for what
        is unknown. `origins` says where those that were not measured come from."""
        return {
            **{name: self.known(name) for name in _COUNTERS},
            "other_s": self.known("other_s"),
            "total_s": self.total_s,
            "acceptance_rate": self.acceptance_rate,
            "acceptance_length": self.acceptance_length,
            "tokens_per_s": self.tokens_per_s,
            "origins": {**self.origins, **self._ratio_origins()},
        }

    def _ratio_origins(self) -> dict[str, Origin]:
        """Of the ratios, by those of their parts."""
        found: dict[str, Origin] = {}
        steps = self.origins.get("num_steps")
        if steps is not None:
            found["acceptance_length"] = "at most" if steps == "at least" else steps
        parts = [self.origins.get(name) for name in ("num_accepted", "num_tested")]
        if any(parts):
            found["acceptance_rate"] = max(filter(None, parts), key=_WORST_LAST.index)
        return found


class Difference(NamedTuple):
    """A total of a server that its stream did not show."""

    name: str
    told: float
    seen: float


def differences(totals: ServerTotals) -> list[Difference]:
    """Where a server's own totals and what its stream showed are not the same; times may differ by a
    thousandth."""
    found = []
    for name, seen in totals.seen.items():
        told = totals.told.get(name)
        if (
            isinstance(told, (int, float))
            and abs(told - seen) > _SAME_SHARE * name.endswith("_s") * told
        ):
            found.append(Difference(name, told, seen))
    return found


_COUNTERS = tuple(item.name for item in dataclasses.fields(RunStats) if item.name != "origins")


def stats_from_dict(values: dict[str, Any]) -> RunStats:
    """Inverse of `RunStats.to_dict`, but for what is known of unknown counters; raises KeyError for
    anything else. What was written before servers could be targets has no untimed tokens."""
    values = {"num_untimed": 0, **values}
    stats = RunStats()
    for name in _COUNTERS:
        setattr(stats, name, values[name] or 0)
    for name, origin in values.get("origins", {}).items():
        if name in (*_COUNTERS, "other_s"):
            stats.origins[name] = origin
    return stats


def collect_stats(events: list[Event]) -> RunStats:
    """The stats of a whole run."""
    stats = RunStats()
    for event in events:
        stats.add(event)
    return stats
