"""What steps cost: on the machine of a profile, on another one, or as somebody supposes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

from core.backends.cost_curve import CostCurve


class Work(NamedTuple):
    """What drafting a step does, whatever that costs."""

    level_rows: tuple[int, ...] = ()
    """Of the forwards of its levels, the first one first."""
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
    judging_share: float = 1.0
    """Of that, the share of judging and committing, which a run measures and sizes by cost follow."""
    pace: float = 1.0
    """How many times as long the target's forwards took in the profile as their curve says. Sizes of
    trees follow the curve, and times follow both."""
    level_paces: tuple[float, ...] = (1.0,)
    """The same of a draft's forwards, by level; the last goes on. Behind the target's pass a draft's
    weights are in no cache, and each level finds more of them there."""
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

    def draft_at(self, level: int, rows: int) -> float:
        """Of the drafter's forward of a level, from 0, at its pace."""
        return self.level_paces[min(level, len(self.level_paces) - 1)] * self.draft_of(rows)

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

    def at_pace(self, pace: float) -> "Costs":
        """As if the target's forwards had taken so many times as long as their curve says, and all else
        had been slower or faster with them."""
        times = pace / self.pace
        return replace(
            self,
            pace=pace,
            level_paces=tuple(times * each for each in self.level_paces),
            choosing_s=times * self.choosing_s,
            rest_s=times * self.rest_s,
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
    same = [each.at_pace(pace) for each in found]
    rest_s = median(each.rest_s for each in same)
    judging_share = median(each.judging_share for each in same)
    return [replace(each, rest_s=rest_s, judging_share=judging_share) for each in same]
