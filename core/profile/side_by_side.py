"""Several drafters side by side: the best setting of each, along batches and costs, and which wins."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.modes.settings import DrafterSettings
from core.profile.circumstance import Circumstance
from core.profile.prediction import BATCHES, Axis, Choice, Prediction, predict, ranked
from core.profile.profile import Profile

PLAIN = "plain decoding"
TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
CURVES = (Axis("batch", BATCHES), Axis("verification", TIMES))
"""What is drawn with a line a drafter."""


class Looked(NamedTuple):
    """A drafter: its profiles, and the settings that are looked at, the given ones first."""

    profiles: Sequence[Profile]
    settings: Sequence[DrafterSettings]


@dataclass(slots=True)
class Outlook:
    """What a mode would reach in one circumstance."""

    label: str
    circumstance: Circumstance
    plain: Prediction
    choices: list[Choice]
    """Of all settings that were looked at, the given ones first."""
    device_steps: bool = False
    """Whether a device alone does the steps of real runs, of which profiles know the forwards alone."""

    @property
    def given(self) -> Choice:
        return self.choices[0]

    @property
    def best(self) -> Choice:
        return ranked(self.choices)[0]

    @property
    def slowest(self) -> Choice:
        return ranked(self.choices)[-1]

    @property
    def times_plain(self) -> float:
        """Of the best settings."""
        return self.best.prediction.tokens_per_s / self.plain.tokens_per_s


def outlook(label: str, looked: Looked, circumstance: Circumstance) -> Outlook:
    """Raises as `predict` does."""
    profiles, costs_of, scale = looked.profiles, circumstance.costs_of, circumstance.scale
    return Outlook(
        label,
        circumstance,
        predict(profiles, None, costs_of),
        [
            Choice(settings, predict(profiles, settings, costs_of, scale))
            for settings in looked.settings
        ],
        any(profile.started.device_steps for profile in profiles),
    )


def winner(found: Iterable[Outlook]) -> str:
    """The label of the drafter whose best settings have the most tokens/s; PLAIN where none beats it.

    Of drafters on different texts those count that gain most over plain decoding of their own.
    """
    best = max(found, key=lambda each: each.times_plain)
    return best.label if best.times_plain > 1.0 else PLAIN


class Curves(NamedTuple):
    """The best settings of every drafter along one axis."""

    axis: Axis
    outlooks: Mapping[str, list[Outlook]]
    """By label, one for each value."""

    @property
    def winners(self) -> list[str]:
        """One for each value."""
        return [winner(point) for point in zip(*self.outlooks.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "axis": self.axis.name,
            "values": list(self.axis.values),
            "winners": self.winners,
            "lines": [
                {
                    "mode": label,
                    "tokens_per_s": [each.best.prediction.tokens_per_s for each in points],
                    "times_plain": [each.times_plain for each in points],
                    "tau": [each.best.prediction.tau for each in points],
                    "settings": [each.best.settings.to_dict() for each in points],
                    "plain_tokens_per_s": [each.plain.tokens_per_s for each in points],
                }
                for label, points in self.outlooks.items()
            ],
        }


def curves_along(axis: Axis, drafters: Mapping[str, Looked], circumstance: Circumstance) -> Curves:
    """The axis takes the place of what the circumstance says of it."""
    places = [circumstance._replace(**{axis.name: value}) for value in axis.values]
    return Curves(
        axis,
        {
            label: [outlook(label, looked, place) for place in places]
            for label, looked in drafters.items()
        },
    )
