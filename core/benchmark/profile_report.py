"""What profiles predict, as tables, as one object for JSON, and as a CSV."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.benchmark.profile_runs import Checked, MadeProfile
from core.benchmark.tables import Table, csv_text
from core.modes.settings import DrafterSettings
from core.profile.costs import Costs
from core.profile.prediction import (
    Choice,
    GridMap,
    Prediction,
    candidates,
    grid_map,
    predict,
    ranked,
    setting_words,
    usual_axes,
)
from core.profile.profile import Profile
from core.profile.replay import FREE_SETTINGS
from core.profile.saved_costs import SavedCosts
from core.trace.events import Drafted

VERSION = 1
_NONE = "-"
_NOTE = (
    "Each line is all questions replayed. 'Given' are the settings of the command, 'best' those with "
    "the most tokens/s of all that were looked at, and 'range' is from the slowest of these to the "
    "fastest."
)
_DEVICE_NOTE = (
    "A device does the steps of real runs alone here and chooses their depth itself: of their times the "
    "forwards alone are counted, so that tokens/s compare settings and are no pace of a run."
)


class Circumstance(NamedTuple):
    """Costs and how many sequences share them."""

    costs: str
    """In words."""
    saved: SavedCosts | None
    """None for those of the profiles' own machine."""
    batch: int

    @property
    def words(self) -> str:
        """Tells it from others."""
        return self.costs + (f", {self.batch} side by side" if self.batch > 1 else "")

    def costs_of(self, profile: Profile) -> Costs:
        """Of a profile's drafter and target."""
        costs = profile.costs if self.saved is None else self.saved.for_profile(profile)
        return costs.side_by_side(self.batch) if self.batch > 1 else costs


class Outlook(NamedTuple):
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


def outlooks(made: Sequence[MadeProfile], circumstances: Sequence[Circumstance]) -> list[Outlook]:
    """Of every mode in every circumstance; plain decoding has none of its own."""
    found = []
    for label, profiles in by_label(made).items():
        most = profiles[0].config.drafter
        if most is None:
            continue
        for circumstance in circumstances:
            costs_of = circumstance.costs_of
            choices = [
                Choice(settings, predict(profiles, settings, costs_of))
                for settings in candidates(most)
            ]
            plain = predict(profiles, None, costs_of)
            on_device = any(profile.started.device_steps for profile in profiles)
            found.append(Outlook(label, circumstance, plain, choices, on_device))
    return found


def by_label(made: Sequence[MadeProfile]) -> dict[str, list[Profile]]:
    """The profiles of each mode."""
    found: dict[str, list[Profile]] = {}
    for item in made:
        found.setdefault(item.label, []).append(item.profile)
    return found


def outlook_tables(found: Sequence[Outlook]) -> list[Table]:
    """A table for each circumstance, and one of what is kept by depth."""
    columns = (
        "", "given tokens/s", "tau", "x plain", "best tokens/s", "tau", "x plain", "best settings",
        "range",
    )  # fmt: skip
    tables = []
    for words in dict.fromkeys(item.circumstance.words for item in found):
        rows = [_outlook_cells(item) for item in found if item.circumstance.words == words]
        on_device = any(item.device_steps for item in found)
        note = f"{_NOTE} {_DEVICE_NOTE}" if on_device else _NOTE
        tables.append(Table(f"Predicted: {words}", columns, rows, note))
    own = [item for item in found if item.circumstance.words == found[0].circumstance.words]
    most = max(len(item.given.prediction.num_judged_at) for item in own)
    depth_rows = [(item.label, *_depth_cells(item.given.prediction, most)) for item in own]
    if most:
        head = ("", *(str(depth) for depth in range(1, most + 1)))
        tables.append(Table("Kept at a depth, of those that came so far", head, depth_rows))
    return tables


def _outlook_cells(item: Outlook) -> tuple[str, ...]:
    slowest = ranked(item.choices)[-1].prediction.tokens_per_s
    plain = item.plain.tokens_per_s

    def cells(choice: Choice) -> tuple[str, ...]:
        found = choice.prediction
        return (
            f"{found.tokens_per_s:.1f}",
            f"{found.tau:.3f}{_inexact(found)}",
            f"{found.tokens_per_s / plain:.2f}",
        )

    best = item.best
    return (
        item.label,
        *cells(item.given),
        *cells(best),
        setting_words(best.settings),
        f"{slowest / plain:.2f}-{best.prediction.tokens_per_s / plain:.2f} x plain",
    )


def _inexact(found: Prediction) -> str:
    return f" ({found.num_missing} nodes unknown)" if found.num_missing else ""


def _depth_cells(found: Prediction, most: int) -> tuple[str, ...]:
    cells = [f"{share:.2f}" for share in found.acceptance_by_depth]
    return (*cells, *[_NONE] * (most - len(cells)))


def making_table(made: Sequence[MadeProfile]) -> list[Table]:
    """What profiles cost beside plain decoding of the same texts; empty for those that were read."""
    rows = []
    for label in dict.fromkeys(item.label for item in made if item.seconds):
        items = [item for item in made if item.label == label]
        profile_s = sum(item.seconds for item in items)
        plain_s = sum(_plain_s(item) for item in items)
        rows.append((label, f"{profile_s:.1f}", f"{plain_s:.1f}", f"{profile_s / plain_s:.1f}"))
    columns = ("", "profiles, s", "plain decoding, s", "times")
    return [Table("What was measured", columns, rows)] if rows else []


def _plain_s(item: MadeProfile) -> float:
    """The run of a profile without what was drafted beside it."""
    drafting_s = sum(event.t_end_s - event.t_start_s for event in item.trace.of_kind(Drafted))
    return item.trace.stats.total_s - drafting_s


def check_table(checked: Sequence[Checked]) -> list[Table]:
    """Real runs beside their prediction; empty where none were made."""
    if not checked:
        return []
    columns = (
        "", "settings", "tau", "predicted", "tokens/s", "predicted", "difference", "equal steps",
    )  # fmt: skip
    rows = []
    for item in checked:
        real, predicted = item.real, item.predicted
        speed = real.tokens_per_s or 0.0
        rows.append(
            (
                item.label,
                setting_words(item.settings),
                f"{real.acceptance_length or 0.0:.3f}",
                f"{predicted.tau:.3f}",
                f"{speed:.1f}",
                f"{predicted.tokens_per_s:.1f}",
                f"{predicted.tokens_per_s / speed - 1.0:+.1%}" if speed else _NONE,
                f"{item.num_equal} of {item.num_runs}",
            )
        )
    note = (
        "Steps of fixed sizes are equal. Sizes by cost also follow how long choosing takes, which is "
        "measured as a run goes on."
    )
    return [Table("Real runs beside their prediction", columns, rows, note)]


def maps_of(
    made: Sequence[MadeProfile], circumstances: Sequence[Circumstance]
) -> dict[str, GridMap]:
    """For each mode two settings against each other under the first costs."""
    found = {}
    costs_of = circumstances[0].costs_of
    for label, profiles in by_label(made).items():
        most = profiles[0].config.drafter
        if most is not None:
            fixed = dataclasses.replace(most, **_fixed(most))
            found[label] = grid_map(profiles, fixed, *usual_axes(most), costs_of)
    return found


def _fixed(most: DrafterSettings) -> dict[str, Any]:
    return {"fixed_size": True} if hasattr(most, "fixed_size") else {}


def report_of(
    header: Mapping[str, Any],
    made: Sequence[MadeProfile],
    found: Sequence[Outlook],
    maps: Mapping[str, GridMap],
    checked: Sequence[Checked],
) -> dict[str, Any]:
    """JSON-ready: how it was made, and every figure."""
    return {
        "kind": "specdecodes-profiles",
        "version": VERSION,
        **header,
        "configs": {item.label: item.profile.config.to_dict() for item in made},
        "question_ids": list(dict.fromkeys(item.question_id for item in made)),
        "profile_s": {
            label: sum(item.seconds for item in made if item.label == label)
            for label in dict.fromkeys(item.label for item in made)
        },
        "predictions": [
            {
                "mode": item.label,
                "costs": item.circumstance.costs,
                "batch": item.circumstance.batch,
                "plain_tokens_per_s": item.plain.tokens_per_s,
                "given": choice_values(item.given),
                "best": choice_values(item.best),
            }
            for item in found
        ],
        "maps": {label: each.to_dict() for label, each in maps.items()},
        "checks": [
            {
                "mode": item.label,
                "settings": item.settings.to_dict(),
                "predicted": item.predicted.to_dict(),
                "real": item.real.to_dict(),
                "num_equal": item.num_equal,
                "num_runs": item.num_runs,
            }
            for item in checked
        ],
    }


def choice_values(choice: Choice) -> dict[str, Any]:
    """JSON-ready form."""
    return {"settings": choice.settings.to_dict(), **choice.prediction.to_dict()}


def predictions_csv(found: Sequence[Outlook]) -> str:
    """A row for every mode, circumstance and setting that was looked at."""
    rows = []
    for item in found:
        for choice in item.choices:
            free = {
                name: getattr(choice.settings, name)
                for name in FREE_SETTINGS
                if hasattr(choice.settings, name)
            }
            values = choice.prediction.to_dict()
            del values["acceptance_by_depth"]
            rows.append(
                {
                    "mode": item.label,
                    "costs": item.circumstance.costs,
                    "batch": item.circumstance.batch,
                    **free,
                    **values,
                    "plain_tokens_per_s": item.plain.tokens_per_s,
                }
            )
    return csv_text(rows)
