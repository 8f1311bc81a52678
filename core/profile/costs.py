"""What steps cost: on the machine of a profile, on another one, or as somebody supposes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

from core.backends.cost_curve import CostCurve


class Work(NamedTuple):
    """What drafting a step does, whatever that costs."""

    first_rows: int = 0
    """Of the draft's first forward; 0 where there is none."""
    later_rows: tuple[int, ...] = ()
    """Of the forwards behind it."""
    num_chosen: int = 0
    """Rows whose children were chosen."""
    lookup_s: float = 0.0
    """Of searching the text, which is done and not priced."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of the parts of a step."""

    curve: CostCurve
    """Of one forward of the target over so many rows."""
    draft: tuple[float, ...]
    """Of the drafter's forward over 1, 2, 3 ... rows; empty where it has none."""
    choosing_s: float
    """Of choosing the children of a row."""
    rest_s: float
    """Of a step beside drafting and verification."""
    pace: float = 1.0
    """How many times as long the target's forwards took in the profile as their curve says. Sizes of
    trees follow the curve, and times follow both."""
    first_pace: float = 1.0
    """The same of a draft's first forward: behind the target's pass its weights are in no cache."""
    draft_pace: float = 1.0
    """The same of the forwards of its other levels."""
    lookup_pace: float = 1.0
    """How many times as long as it took a search of the text takes."""
    batch: int = 1
    """Sequences side by side, each with as many rows as this one."""

    def verify(self, rows: int) -> float:
        """Of the target's forward over so many rows of each sequence."""
        return self.curve(self.batch * rows)

    def verification(self, rows: int) -> float:
        """The same at the pace of the profile."""
        return self.pace * self.verify(rows)

    def first_draft(self, rows: int) -> float:
        """Of a draft's first forward, at its pace; 0 where there is none."""
        return self.first_pace * self.draft_of(rows) if rows else 0.0

    def later_draft(self, rows: int) -> float:
        """Of a forward behind the first, at its pace."""
        return self.draft_pace * self.draft_of(rows)

    def draft_of(self, rows: int) -> float:
        """Of the drafter's forward over so many rows of each sequence; beyond what was measured the last
        slope goes on."""
        rows *= self.batch
        if not self.draft:
            return 0.0
        if rows <= len(self.draft):
            return self.draft[rows - 1]
        slope = self.draft[-1] - self.draft[-2] if len(self.draft) > 1 else 0.0
        return self.draft[-1] + max(0.0, slope) * (rows - len(self.draft))

    def scaled(self, *, verify: float = 1.0, draft: float = 1.0) -> "Costs":
        """Where a verification, or a draft, takes so many times as long."""
        return replace(
            self,
            curve=CostCurve(
                self.curve.rows, tuple(verify * seconds for seconds in self.curve.seconds)
            ),
            draft=tuple(draft * seconds for seconds in self.draft),
            choosing_s=draft * self.choosing_s,
            lookup_pace=draft * self.lookup_pace,
        )

    def side_by_side(self, batch: int) -> "Costs":
        """Where so many sequences share every forward; what is done for each by itself is done for one
        after the other."""
        return replace(
            self,
            batch=batch,
            choosing_s=batch * self.choosing_s,
            rest_s=batch * self.rest_s,
            lookup_pace=batch * self.lookup_pace,
        )


def at_one_pace(found: Sequence[Costs]) -> list[Costs]:
    """The costs of several profiles of one machine, as if all had been made in the same minute.

    Other programs change the pace of a machine, and with it what plain decoding takes. All get the
    median of the paces, and of what a step takes beside drafting and verification at that pace.
    """
    if not found:
        return []
    pace = median(each.pace for each in found)
    rest_s = median(pace / each.pace * each.rest_s for each in found)
    return [
        replace(
            each,
            pace=pace,
            first_pace=pace / each.pace * each.first_pace,
            draft_pace=pace / each.pace * each.draft_pace,
            choosing_s=pace / each.pace * each.choosing_s,
            rest_s=rest_s,
        )
        for each in found
    ]
