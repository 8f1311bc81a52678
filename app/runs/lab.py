"""The lab: what profiles of several modes predict for the settings and costs of the page."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from app.messages import (
    LabAnswer,
    LabCell,
    LabChoice,
    LabCurves,
    LabDrafter,
    LabGroup,
    LabGrouping,
    LabMap,
    LabName,
)
from app.runs.lab_profiles import Lab, Measured, looked_at, most_of
from core.config import MOST_TOGETHER
from core.errors import InvalidSettingError, shown
from core.modes.ngram import NgramSettings
from core.modes.settings import DrafterSettings, TreeSettings
from core.profile.acceptance_scale import AcceptanceScale
from core.profile.circumstance import DEVICE_NOTE, Circumstance
from core.profile.prediction import (
    Axis,
    Choice,
    Prediction,
    axes_of,
    grid_map,
    setting_words,
    usual_axes,
)
from core.profile.saved_costs import OWN, named_costs, shipped_names
from core.profile.side_by_side import CURVES, Outlook, curves_along, outlook, winner
from core.profile.tally import tally_of
from core.profile.token_groups import BY, BY_WORDS, FEW, Group, GroupedRun, groups_of

DRAWN = "drawn"
_OWN_WORDS = "this machine"
_DRAWN_WORDS = "drawn by hand"
# Rows of the handles by which a curve is drawn.
HANDLES = (1, 2, 4, 8, 16, 32, 64)
_MOST_TIMES = 100.0
Measure = Literal["tokens_per_s", "tau", "times_plain"]
Theme = Literal["light", "dark"]


def lab_answer(lab: Lab, asked: Mapping[str, str]) -> LabAnswer:
    """What every mode would reach under the costs that were asked for, and where its drafts fit.

    `costs` says whose costs, `curve` the one drawn by hand, `batch`, `verification`, `drafting` and
    `acceptance` what is supposed, `of` whether tokens are grouped at the `best` or the `given` settings.
    Raises InvalidSettingError for what is not understood, and where nothing is measured.
    """
    here = _circumstance(asked)
    measured = lab.measured()
    found = {name: outlook(name, looked_at(own), here) for name, own in measured.items()}
    plain = next(iter(found.values())).plain
    first = next(iter(measured.values())).profiles[0]
    curve = here.costs_of(first)
    bare = here._replace(batch=1, verification=1.0).costs_of(first)
    is_given = _chosen(asked, "of", ("best", "given")) == "given"
    groups = {
        name: _groups(own, (found[name].given if is_given else found[name].best).settings, here)
        for name, own in measured.items()
    }
    on_device = any(each.device_steps for each in found.values())
    return {
        "drafters": [_drafter(each) for each in found.values()],
        "winner": winner(found.values()),
        "num_prompts": len(next(iter(measured.values())).profiles),
        "num_tokens": plain.num_tokens,
        "plain_tokens_per_s": plain.tokens_per_s,
        "verify_ms": 1e3 * curve.verification(1),
        "note": DEVICE_NOTE if on_device else "",
        "costs": _all_costs(),
        "handles": list(HANDLES),
        "curve_ms": [1e3 * bare.verification(rows) for rows in HANDLES],
        "groupings": [_grouping(by, groups) for by in BY],
        "few": FEW,
    }


def lab_curves(lab: Lab, asked: Mapping[str, str], theme: Theme) -> LabCurves:
    """The best settings of every mode along batches and costs, as Plotly's figures; raises as
    `lab_answer` does."""
    from visualize.figures.drafter_curves import (
        drafter_curves_figure,
        drafter_curves_info,
        winner_words,
    )

    here = _circumstance(asked)
    drafters = {name: looked_at(own) for name, own in lab.measured().items()}
    figures, winners = [], []
    for axis in CURVES:
        info = drafter_curves_info(curves_along(axis, drafters, here).to_dict())
        place = getattr(here, axis.name)
        figure = drafter_curves_figure(info, theme, _measure(asked), place, tells_winners=False)
        figures.append(json.loads(figure.to_json()))
        winners.append(winner_words(info))
    return {"figures": figures, "winners": winners}


def lab_map(lab: Lab, asked: Mapping[str, str], theme: Theme) -> LabMap:
    """Two settings of one `mode` against each other: `x` and `y` name them, `sized` says whether trees
    follow the cost; raises as `lab_answer` does."""
    from visualize.figures.setting_map import setting_map_figure, setting_map_info

    here = _circumstance(asked)
    measured = lab.measured()
    name = _chosen(asked, "mode", tuple(measured))
    most = most_of(measured[name])
    x, y = _axes(asked, most)
    drawn = most
    if isinstance(most, (NgramSettings, TreeSettings)):
        drawn = replace(most, fixed_size=asked.get("sized") != "yes")
    values = grid_map(measured[name].profiles, drawn, x, y, here).to_dict()
    figure = setting_map_figure(setting_map_info(values, name), theme, _measure(asked))
    return {
        "mode": name,
        "axes": [_named(each) for each in axes_of(most)],
        "x": x.name,
        "y": y.name,
        "figure": json.loads(figure.to_json()),
    }


def _groups(measured: Measured, settings: DrafterSettings, here: Circumstance) -> list[Group]:
    return groups_of(
        GroupedRun(
            profile, category, tally_of(profile, settings, here.costs_of(profile), here.scale)
        )
        for profile, category in zip(measured.profiles, measured.categories, strict=True)
    )


def _grouping(by: str, groups: Mapping[str, list[Group]]) -> LabGrouping:
    own = [{each.name: each for each in found if each.by == by} for found in groups.values()]
    rows: list[LabGroup] = []
    for name in dict.fromkeys(name for found in own for name in found):
        cells = [found.get(name) or Group(by, name) for found in own]
        rows.append(
            {
                "name": name,
                "num_tokens": max(each.num_tokens for each in cells),
                "cells": [_cell(each) for each in cells],
            }
        )
    return {"by": by, "words": BY_WORDS[by], "rows": rows}


def _cell(group: Group) -> LabCell:
    return {
        "acceptance": group.acceptance,
        "num_judged": group.num_judged,
        "tokens_a_step": group.tokens_a_step,
        "num_steps": group.num_steps,
    }


def _drafter(found: Outlook) -> LabDrafter:
    return {
        "mode": found.label,
        "given": _choice(found.given, found.plain),
        "best": _choice(found.best, found.plain),
        "slowest": _choice(found.slowest, found.plain),
        "num_missing": sum(choice.prediction.num_missing for choice in found.choices),
    }


def _chosen(asked: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    word = asked.get(name) or known[0]
    if word not in known:
        raise InvalidSettingError(f"{name} is {shown(word)}; give one of {', '.join(known)}.")
    return word


def _axes(asked: Mapping[str, str], most: DrafterSettings) -> tuple[Axis, Axis]:
    known = axes_of(most)
    x, y = usual_axes(most)
    found = []
    for side, usual in (("x", x), ("y", y)):
        name = asked.get(side) or usual.name
        if name not in known:
            raise InvalidSettingError(f"{side} is {shown(name)}; give one of {', '.join(known)}.")
        found.append(known[name])
    if found[0] == found[1]:
        raise InvalidSettingError(f"both sides are {found[0].name}; give two that differ.")
    return found[0], found[1]


def _circumstance(asked: Mapping[str, str]) -> Circumstance:
    # A page names no files of the server.
    name = _chosen(asked, "costs", (OWN, *shipped_names(), DRAWN))
    curve = asked.get("curve") or ""
    if name == DRAWN and not curve[:1].isdigit():
        raise InvalidSettingError(
            f"curve is {shown(curve)}; give rows and milliseconds, such as 1:10,8:12,64:40."
        )
    word = asked.get("batch") or "1"
    if not word.isdecimal() or not 1 <= int(word) <= MOST_TOGETHER:
        raise InvalidSettingError(
            f"batch is {shown(word)}; give a number from 1 to {MOST_TOGETHER}."
        )
    return Circumstance(
        name,
        named_costs(curve if name == DRAWN else name),
        int(word),
        _times(asked, "verification"),
        _times(asked, "drafting"),
        AcceptanceScale(_number(asked, "acceptance")),
    )


def _number(asked: Mapping[str, str], name: str) -> float:
    """NaN for what is none, which nothing allows."""
    try:
        return float(asked.get(name) or "1")
    except ValueError:
        return math.nan


def _times(asked: Mapping[str, str], name: str) -> float:
    value = _number(asked, name)
    if not 1 / _MOST_TIMES <= value <= _MOST_TIMES:
        raise InvalidSettingError(
            f"{name} is {shown(asked[name])}; give how many times as long, from "
            f"{1 / _MOST_TIMES:g} to {_MOST_TIMES:g}."
        )
    return value


def _measure(asked: Mapping[str, str]) -> Measure:
    measures: dict[str, Measure] = {
        "tokens_per_s": "tokens_per_s",
        "tau": "tau",
        "times_plain": "times_plain",
    }
    return measures[_chosen(asked, "measure", tuple(measures))]


def _named(name: str) -> LabName:
    from visualize.figures.setting_map import AXIS_WORDS

    return {"name": name, "words": AXIS_WORDS.get(name, name)}


def _all_costs() -> list[LabName]:
    found: list[LabName] = [{"name": OWN, "words": _OWN_WORDS}]
    for name in shipped_names():
        saved = named_costs(name)
        assert saved is not None, "it comes with the program"
        found.append({"name": name, "words": saved.name})
    return [*found, {"name": DRAWN, "words": _DRAWN_WORDS}]


def _choice(choice: Choice, plain: Prediction) -> LabChoice:
    found = choice.prediction
    return {
        "words": setting_words(choice.settings),
        "settings": choice.settings.to_dict(),
        "tokens_per_s": found.tokens_per_s,
        "times_plain": found.tokens_per_s / plain.tokens_per_s,
        "tau": found.tau,
    }
