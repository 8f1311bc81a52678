"""What steps cost: on the machine of a profile, on another one, or as somebody supposes."""

from dataclasses import dataclass, replace

from core.backends.cost_curve import CostCurve


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of the parts of a step."""

    verify: CostCurve
    """Of one forward of the target over so many rows."""
    draft: tuple[float, ...]
    """Of the drafter's forward over 1, 2, 3 ... rows; empty where it has none."""
    choosing_s: float
    """Of choosing the children of a row."""
    rest_s: float
    """Of a step beside drafting and verification."""
    pace: float = 1.0
    """How many times as long forwards took in the profile as their curve says. Sizes of trees follow the
    curve, and times follow both."""

    def draft_of(self, rows: int) -> float:
        """Of the drafter's forward; beyond what was measured the last slope goes on."""
        if not self.draft:
            return 0.0
        if rows <= len(self.draft):
            return self.draft[rows - 1]
        slope = self.draft[-1] - self.draft[-2] if len(self.draft) > 1 else 0.0
        return self.draft[-1] + slope * (rows - len(self.draft))

    def scaled(self, *, verify: float = 1.0, draft: float = 1.0) -> "Costs":
        """Where a verification, or a draft, costs so many times as much."""
        return replace(
            self,
            verify=CostCurve(
                self.verify.rows, tuple(verify * seconds for seconds in self.verify.seconds)
            ),
            draft=tuple(draft * seconds for seconds in self.draft),
            choosing_s=draft * self.choosing_s,
        )
