"""Under what a profile's runs are thought of: whose costs, how many sequences, how good a drafter."""

from typing import NamedTuple

from core.profile.acceptance_scale import AS_MEASURED, AcceptanceScale
from core.profile.costs import Costs
from core.profile.profile import Profile
from core.profile.saved_costs import SavedCosts

DEVICE_NOTE = (
    "A device does the steps of real runs alone here and chooses their depth itself: of their times the "
    "forwards alone are counted, so that tokens/s compare settings and are no pace of a run."
)
"""Of profiles whose own costs are those of forwards alone."""


class Circumstance(NamedTuple):
    """Costs, how many sequences share them, and what is supposed of both."""

    costs: str
    """In words."""
    saved: SavedCosts | None = None
    """None for those of the profiles' own machine."""
    batch: int = 1
    verification: float = 1.0
    """How many times as long verification takes."""
    drafting: float = 1.0
    scale: AcceptanceScale = AS_MEASURED

    @property
    def words(self) -> str:
        """Tells it from others."""
        side_by_side = f", {self.batch} side by side" if self.batch > 1 else ""
        scaled = f", acceptance x {self.scale.factor:g}" if self.scale.factor != 1.0 else ""
        return f"{self.costs}{side_by_side}{scaled}"

    def costs_of(self, profile: Profile) -> Costs:
        """Of a profile's drafter and target."""
        costs = profile.costs if self.saved is None else self.saved.for_profile(profile)
        costs = costs.scaled(verify=self.verification, draft=self.drafting)
        return costs.side_by_side(self.batch) if self.batch > 1 else costs


OWN_CIRCUMSTANCE = Circumstance("own")
"""As the profiles were made."""
