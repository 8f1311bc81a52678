"""When text reaches whoever reads an answer as it is written: the pauses between, and the bursts.

A step's tokens arrive together, when the step ends; a step that adds no text, inside a character or
while a stop string may begin, is not noticed. The time before the first text is apart.
"""

import bisect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from core.trace.events import Committed, Event, RunFinished


class PauseFacts(NamedTuple):
    """The pauses of one answer or of several; percentiles lie between the two nearest (linear)."""

    num_pauses: int
    pause_p50_s: float | None
    """None where there was no second text, as for the next three."""
    pause_p95_s: float | None
    pause_p99_s: float | None
    longest_pause_s: float | None
    mean_burst: float | None
    """Tokens that arrive at once; None where no text arrived."""
    largest_burst: int | None


class Pauses:
    """The arrivals of an answer. `add` every event in order, or `arrive` with each."""

    def __init__(self) -> None:
        self.pauses_s: list[float] = []
        """Sorted."""
        self.bursts: list[int] = []
        """Tokens of each arrival, in order."""
        self.first_s: float | None = None
        """When the first text arrived; None as long as none has."""
        self._last_s: float | None = None
        self._num_held = 0

    def add(self, event: Event) -> None:
        """Takes an event; those that bring no text change nothing but what is held back."""
        if isinstance(event, Committed):
            self._num_held += len(event.token_ids)
            if any(event.texts):
                self.arrive(event.t_end_s, self._num_held)
        elif isinstance(event, RunFinished) and event.tail_text:
            self.arrive(event.t_end_s, self._num_held)

    def arrive(self, at_s: float, num_tokens: int) -> None:
        """So many tokens reach the reader at once."""
        if self._last_s is None:
            self.first_s = at_s
        else:
            bisect.insort(self.pauses_s, max(0.0, at_s - self._last_s))
        self._last_s = at_s
        self._num_held = 0
        if num_tokens:
            self.bursts.append(num_tokens)

    def merge(self, other: "Pauses") -> None:
        """Adds the arrivals of another answer; the time between the two is no pause."""
        self.pauses_s = sorted([*self.pauses_s, *other.pauses_s])
        self.bursts += other.bursts

    @property
    def facts(self) -> PauseFacts:
        """The figures of what has arrived so far."""
        return PauseFacts(
            num_pauses=len(self.pauses_s),
            pause_p50_s=percentile(self.pauses_s, 0.5),
            pause_p95_s=percentile(self.pauses_s, 0.95),
            pause_p99_s=percentile(self.pauses_s, 0.99),
            longest_pause_s=self.pauses_s[-1] if self.pauses_s else None,
            mean_burst=sum(self.bursts) / len(self.bursts) if self.bursts else None,
            largest_burst=max(self.bursts, default=None),
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return self.facts._asdict()


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which a share of sorted values lies; None of nothing."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    rest = place - low
    return ordered[low] if not rest else ordered[low] * (1 - rest) + ordered[low + 1] * rest


def collect_pauses(events: Sequence[Event]) -> Pauses:
    """The pauses of a whole run."""
    pauses = Pauses()
    for event in events:
        pauses.add(event)
    return pauses
