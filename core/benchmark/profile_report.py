"""What profiles predict, as tables, as one object for JSON, and as a CSV."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.benchmark.profile_runs import Checked, MadeProfile
from core.benchmark.tables import Table, csv_text
from core.modes.settings import DrafterSettings
from core.profile.circumstance import DEVICE_NOTE, Circumstance
from core.profile.prediction import (
    Choice,
    GridMap,
    Prediction,
    candidates,
    grid_map,
    quick_candidates,
    setting_words,
    usual_axes,
)
from core.profile.profile import Profile
from core.profile.replay import FREE_SETTINGS
from core.profile.side_by_side import CURVES, Curves, Looked, Outlook, curves_along, outlook
from core.profile.tally import tally_of
from core.profile.token_groups import BY, BY_WORDS, FEW, Group, GroupedRun, groups_of
from core.trace.events import Drafted

VERSION = 1
_NONE = "-"
_NOTE = (
    "Each line is all questions replayed. 'Given' are the settings of the command, 'best' those with "
    "the most tokens/s of all that were looked at, and 'range' is from the slowest of these to the "
    "fastest."
)
_GROUPS_NOTE = (
    "'Kept' is of the tokens in whose place something was drafted, 'tokens a step' of the steps that "
    f"begin there, both with how many these are; a question mark: fewer than {FEW}, which chance moves."
)
_CURVES_NOTE = (
    "Times plain decoding under the same costs, with the best settings of each at every place; of sizes "
    "by cost the given one is looked at alone."
)
_CURVE_WORDS = {
    "batch": "sequences side by side",
    "verification": "times the cost of verification",
}


def outlooks(made: Sequence[MadeProfile], circumstances: Sequence[Circumstance]) -> list[Outlook]:
    """Of every mode in every circumstance; plain decoding has none of its own."""
    return [
        outlook(label, looked, circumstance)
        for label, looked in drafters_of(made).items()
        for circumstance in circumstances
    ]


def drafters_of(made: Sequence[MadeProfile]) -> dict[str, Looked]:
    """The modes that draft, with all settings that are looked at."""
    found = {}
    for label, profiles in by_label(made).items():
        most = profiles[0].config.drafter
        if most is not None:
            found[label] = Looked(profiles, list(candidates(most)))
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
        note = f"{_NOTE} {DEVICE_NOTE}" if on_device else _NOTE
        tables.append(Table(f"Predicted: {words}", columns, rows, note))
    own = [item for item in found if item.circumstance.words == found[0].circumstance.words]
    most = max(len(item.given.prediction.num_judged_at) for item in own)
    depth_rows = [(item.label, *_depth_cells(item.given.prediction, most)) for item in own]
    if most:
        head = ("", *(str(depth) for depth in range(1, most + 1)))
        tables.append(Table("Kept at a depth, of those that came so far", head, depth_rows))
    return tables


def _outlook_cells(item: Outlook) -> tuple[str, ...]:
    slowest = item.slowest.prediction.tokens_per_s
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


class GroupsOfMode(NamedTuple):
    """Where the drafts of a mode fit, under the given settings."""

    label: str
    circumstance: Circumstance
    groups: list[Group]


def all_groups(
    made: Sequence[MadeProfile], circumstances: Sequence[Circumstance]
) -> list[GroupsOfMode]:
    """Of every mode that drafts in every circumstance."""
    return [
        GroupsOfMode(label, circumstance, _groups(made, label, looked.settings[0], circumstance))
        for label, looked in drafters_of(made).items()
        for circumstance in circumstances
    ]


def _groups(
    made: Sequence[MadeProfile],
    label: str,
    settings: DrafterSettings,
    circumstance: Circumstance,
) -> list[Group]:
    items = [item for item in made if item.label == label]
    return groups_of(
        GroupedRun(
            item.profile,
            item.category,
            tally_of(
                item.profile, settings, circumstance.costs_of(item.profile), circumstance.scale
            ),
        )
        for item in items
    )


def group_tables(found: Sequence[GroupsOfMode]) -> list[Table]:
    """A table for each way to group tokens, in the first circumstance."""
    own = [item for item in found if item.circumstance == found[0].circumstance]
    tables = []
    for by in BY:
        names = dict.fromkeys(each.name for item in own for each in item.groups if each.by == by)
        columns = ["", "tokens"]
        for item in own:
            columns += [f"{item.label} kept", "tokens a step"]
        rows = [_group_cells(own, by, name) for name in names]
        if rows:
            words = f"{BY_WORDS[by]} ({found[0].circumstance.words})"
            tables.append(Table(f"By {words}", tuple(columns), rows, _GROUPS_NOTE))
    return tables


def _group_cells(own: Sequence[GroupsOfMode], by: str, name: str) -> tuple[str, ...]:
    groups = [
        next((each for each in item.groups if (each.by, each.name) == (by, name)), Group(by, name))
        for item in own
    ]
    cells = [name, str(max(each.num_tokens for each in groups))]
    for each in groups:
        cells.append(_with_number(each.acceptance, each.num_judged))
        cells.append(_with_number(each.tokens_a_step, each.num_steps))
    return tuple(cells)


def _with_number(ratio: float | None, of: int) -> str:
    if ratio is None:
        return _NONE
    return f"{ratio:.2f} of {of}" + ("?" if of < FEW else "")


def curves_of(made: Sequence[MadeProfile], circumstances: Sequence[Circumstance]) -> list[Curves]:
    """The best settings of all modes along batches and costs, in the first circumstance."""
    drafters = {
        label: Looked(looked.profiles, list(quick_candidates(looked.settings[0])))
        for label, looked in drafters_of(made).items()
    }
    return [curves_along(axis, drafters, circumstances[0]) for axis in CURVES]


def curve_tables(found: Sequence[Curves]) -> list[Table]:
    """A table for each axis: a row a mode, and one for the winner at each value."""
    tables = []
    for curves in found:
        rows = [
            (label, *(f"{point.times_plain:.2f}" for point in points))
            for label, points in curves.outlooks.items()
        ]
        rows.append(("fastest", *curves.winners))
        columns = ("", *(f"{value:g}" for value in curves.axis.values))
        first = next(iter(curves.outlooks.values()))[0].circumstance
        words = f"Best along {_CURVE_WORDS[curves.axis.name]} ({first.costs})"
        tables.append(Table(words, columns, rows, _CURVES_NOTE))
    return tables


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
        f"Plain decoding ran beside them and took {checked[0].pace:.2f} times as long as the profiles "
        "tell; the predictions are at that pace. Of repeated runs the median one counts. Steps of fixed "
        "sizes are equal. Sizes by cost also follow how long forwards and choosing take, which is "
        "measured as a run goes on."
    )
    return [Table("Real runs beside their prediction", columns, rows, note)]


def maps_of(
    made: Sequence[MadeProfile], circumstances: Sequence[Circumstance]
) -> dict[str, GridMap]:
    """For each mode two settings against each other under the first costs."""
    found = {}
    for label, profiles in by_label(made).items():
        most = profiles[0].config.drafter
        if most is not None:
            fixed = dataclasses.replace(most, **_fixed(most))
            found[label] = grid_map(profiles, fixed, *usual_axes(most), circumstances[0])
    return found


def _fixed(most: DrafterSettings) -> dict[str, Any]:
    return {"fixed_size": True} if hasattr(most, "fixed_size") else {}


def report_of(
    header: Mapping[str, Any],
    made: Sequence[MadeProfile],
    found: Sequence[Outlook],
    maps: Mapping[str, GridMap],
    groups: Sequence[GroupsOfMode],
    curves: Sequence[Curves],
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
                **_circumstance_values(item.label, item.circumstance),
                "plain_tokens_per_s": item.plain.tokens_per_s,
                "given": choice_values(item.given),
                "best": choice_values(item.best),
            }
            for item in found
        ],
        "maps": {label: each.to_dict() for label, each in maps.items()},
        "groups": [
            {**_circumstance_values(item.label, item.circumstance), **group.to_dict()}
            for item in groups
            for group in item.groups
        ],
        "curves": [each.to_dict() for each in curves],
        "checks": [
            {
                "mode": item.label,
                "settings": item.settings.to_dict(),
                "predicted": item.predicted.to_dict(),
                "real": item.real.to_dict(),
                "num_equal": item.num_equal,
                "num_runs": item.num_runs,
                "pace": item.pace,
            }
            for item in checked
        ],
    }


def _circumstance_values(label: str, circumstance: Circumstance) -> dict[str, Any]:
    return {
        "mode": label,
        "costs": circumstance.costs,
        "batch": circumstance.batch,
        "accept_scale": circumstance.scale.factor,
    }


def choice_values(choice: Choice) -> dict[str, Any]:
    """JSON-ready form."""
    return {"settings": choice.settings.to_dict(), **choice.prediction.to_dict()}


def predictions_csv(found: Sequence[Outlook], groups: Sequence[GroupsOfMode]) -> str:
    """A row for every mode, circumstance and setting that was looked at, then one for every group of
    tokens under the given settings."""
    rows: list[dict[str, Any]] = []
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
                    **_circumstance_values(item.label, item.circumstance),
                    **free,
                    **values,
                    "plain_tokens_per_s": item.plain.tokens_per_s,
                }
            )
    rows += [
        {**_circumstance_values(item.label, item.circumstance), **group.to_dict()}
        for item in groups
        for group in item.groups
    ]
    return csv_text(rows)
