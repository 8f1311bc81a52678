"""What steps cost: on the machine of a profile, on another one, or as somebody supposes."""

from dataclasses import dataclass, replace

from core.backends.cost_curve import CostCurve


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
    batch: int = 1
    """Sequences side by side, each with as many rows as this one."""

    def verify(self, rows: int) -> float:
        """Of the target's forward over so many rows of each sequence."""
        return self.curve(self.batch * rows)

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
        )

    def side_by_side(self, batch: int) -> "Costs":
        """Where so many sequences share every forward; what is done for each by itself is done for one
        after the other."""
        return replace(
            self, batch=batch, choosing_s=batch * self.choosing_s, rest_s=batch * self.rest_s
        )
