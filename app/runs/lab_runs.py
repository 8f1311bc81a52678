"""The latest labs of all visitors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.runs.lab_profiles import Lab

_MOST_KEPT = 8


class LabRuns:
    """Whoever has the id of a lab, and is its visitor, may ask it."""

    def __init__(self) -> None:
        self._labs: dict[str, Lab] = {}

    def add(self, lab: "Lab") -> None:
        """The oldest one makes room."""
        self._labs[lab.lab_id] = lab
        while len(self._labs) > _MOST_KEPT:
            del self._labs[next(iter(self._labs))]

    def find(self, visitor: str | None, lab_id: str) -> "Lab | None":
        """None where there is none, or it is somebody else's."""
        lab = self._labs.get(lab_id)
        return lab if lab is not None and lab.visitor == visitor else None
