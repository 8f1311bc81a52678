"""What a lab asks: profiles of several modes on several prompts."""

import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from app.messages import LabMode, LabProgress
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.modes.settings import DrafterSettings
from core.profile.costs import Costs, at_one_pace
from core.profile.prediction import quick_candidates
from core.profile.profile import Profile
from core.profile.side_by_side import Looked
from core.runtime.strict_json import dumps

if TYPE_CHECKING:
    from core.benchmark.questions import Question

MOST_MODES = 6
MOST_PROMPTS = 12


class Asked(NamedTuple):
    """A prompt, and the category under which its tokens are counted."""

    prompt: str
    category: str


def own_questions() -> "list[Question]":
    """The project's, of which a lab may take some."""
    from core.benchmark.question_sets import OWN, questions_file
    from core.benchmark.questions import load_questions

    return load_questions(questions_file(OWN))


class Measured(NamedTuple):
    """What there is of one mode."""

    profiles: list[Profile]
    categories: list[str]
    """One for each profile."""


class ProfiledMode:
    """A mode of a lab: its settings and what was measured, or why not."""

    def __init__(self, name: str):
        self.name = name
        self.refused = ""
        self.config: RunConfig | None = None
        """None where it was refused."""
        self.profiles: dict[int, Profile] = {}
        """By the place of their prompt."""
        self.costs: dict[int, Costs] = {}
        """As they were when each was made."""
        self.run_ids: dict[int, str] = {}
        """Under which they are kept."""

    def take(self, place: int, run_id: str, profile: Profile) -> None:
        """Has one more profile, of the prompt at a place."""
        self.profiles[place] = profile
        self.costs[place] = profile.costs
        self.run_ids[place] = run_id

    @property
    def is_measured(self) -> bool:
        """Whether there is something to ask it."""
        return bool(self.profiles) and not self.refused

    def told(self) -> LabMode:
        return {"mode": self.name, "num_measured": len(self.profiles), "refused": self.refused}


class Lab:
    """Profiles that may be asked by their visitor."""

    def __init__(self, modes: Sequence[ProfiledMode], asked: Sequence[Asked], visitor: str | None):
        self.lab_id = secrets.token_urlsafe(16)
        self.visitor = visitor
        self._modes = list(modes)
        self._asked = list(asked)

    @property
    def is_over(self) -> bool:
        """Whether no profile is still to come."""
        return True

    def stop(self) -> None:
        """Ends what makes them; those that there are stay."""

    def told(self) -> LabProgress:
        """How far it is."""
        return self._progress("Measured", is_over=True)

    def follow(self) -> Iterator[str]:
        """How far it is, again and again, up to its end."""
        yield dumps(self.told())

    def _progress(self, status: str, *, is_over: bool, failure: str = "") -> LabProgress:
        ready = [mode for mode in self._modes if not mode.refused]
        return {
            "lab": self.lab_id,
            "modes": [mode.told() for mode in self._modes],
            "status": status,
            "done": sum(len(mode.profiles) for mode in ready),
            "total": len(self._asked) * len(ready),
            "is_over": is_over,
            "failure": failure,
            "runs": [run_id for mode in ready for run_id in mode.run_ids.values()],
        }

    def measured(self) -> dict[str, Measured]:
        """By mode, on the prompts that all of them have, at one pace.

        Raises InvalidSettingError where there is nothing yet.
        """
        shown_modes = [mode for mode in self._modes if mode.is_measured]
        if not shown_modes:
            raise InvalidSettingError("Nothing is measured yet; measure a prompt first.")
        common = set.intersection(*(set(mode.profiles) for mode in shown_modes))
        places = sorted(common)
        own = [mode.profiles[place] for mode in shown_modes for place in places]
        made = [mode.costs[place] for mode in shown_modes for place in places]
        for profile, costs in zip(own, at_one_pace(made), strict=True):
            profile.costs = costs
        return {
            mode.name: Measured(
                [mode.profiles[place] for place in places],
                [self._asked[place].category for place in places],
            )
            for mode in shown_modes
        }


def looked_at(measured: Measured) -> Looked:
    """A mode with the settings that the page looks at."""
    most = most_of(measured)
    return Looked(measured.profiles, list(quick_candidates(most)))


def most_of(measured: Measured) -> DrafterSettings:
    """The largest settings that were measured."""
    most = measured.profiles[0].config.drafter
    assert most is not None, "what drafts nothing has no profile here"
    return most
