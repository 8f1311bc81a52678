"""Costs by name or from a file: of other machines, or drawn by hand.

A file is a JSON object: `kind` is specdecodes-costs, `name` says in words what was measured,
`forward_ms` has the milliseconds of a forward of the target by its rows. `draft_ms`, if it is there,
has those of drafters, by their names and rows, and `rest_ms` what a step takes beside both.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from core.backends.cost_curve import CostCurve
from core.errors import InvalidSettingError, shown
from core.profile.costs import Costs
from core.profile.profile import Profile

KIND = "specdecodes-costs"
OWN = "own"
_SHIPPED = files("core.profile").joinpath("machines")
_MAX_MS = 1e9


class SavedCosts(NamedTuple):
    """Costs that hang on no profile."""

    name: str
    """In words."""
    curve: CostCurve
    draft_s: Mapping[str, tuple[float, ...]]
    """By the drafter's name: of its forward over 1, 2, 3 ... rows."""
    rest_s: float | None

    def for_profile(self, profile: Profile) -> Costs:
        """The costs of a profile's drafter there.

        A drafter of which nothing was measured takes the same share of the target's forward as where the
        profile was made, and so does what a step takes beside drafting and verification.
        """
        own = profile.costs
        share = self.curve(1) / own.curve(1)
        draft = self.draft_s.get(profile.started.drafter)
        if draft is None:
            times = share * own.level_paces[-1] / own.pace
            draft = tuple(times * seconds for seconds in own.draft)
        return Costs(
            curve=self.curve,
            draft=draft,
            choosing_s=share * own.choosing_s,
            rest_s=share * own.rest_s if self.rest_s is None else self.rest_s,
            judging_share=own.judging_share,
            level_paces=tuple(each / own.level_paces[-1] for each in own.level_paces),
        )


def shipped_names() -> tuple[str, ...]:
    """Of the costs that come with the program."""
    return tuple(
        sorted(
            item.name.removesuffix(".json") for item in _SHIPPED.iterdir() if "json" in item.name
        )
    )


def named_costs(text: str) -> SavedCosts | None:
    """Costs by the words of an option: `own` (None), a shipped name, a file, or a curve as `rows:ms`
    with commas; raises InvalidSettingError."""
    if text == OWN:
        return None
    if text in shipped_names():
        return _from_json(_SHIPPED.joinpath(f"{text}.json").read_text("utf-8"), text)
    if Path(text).is_file():
        try:
            return _from_json(Path(text).read_text("utf-8"), text)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettingError(f"{text} cannot be read ({error}).") from None
    if ":" in text and text[0].isdigit():
        return SavedCosts(f"drawn: {text}", _drawn(text), {}, None)
    raise InvalidSettingError(
        f"costs is {shown(text)}; give {OWN}, one of {', '.join(shipped_names())}, a file, or a curve "
        "such as 1:10,8:12,64:40 (rows and milliseconds)."
    )


def _drawn(text: str) -> CostCurve:
    points = {}
    for word in text.split(","):
        rows, _, milliseconds = word.partition(":")
        points[rows.strip()] = milliseconds
    return _curve(points, text)


def _from_json(text: str, place: str) -> SavedCosts:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise InvalidSettingError(f"{place} holds no costs (kind {KIND}); give a file that does.")
    drafts = values.get("draft_ms", {})
    if not isinstance(drafts, dict):
        raise InvalidSettingError(
            f"{place}: draft_ms is {shown(drafts)}; give an object by drafters."
        )
    rest = values.get("rest_ms")
    return SavedCosts(
        str(values.get("name", place)),
        _curve(values.get("forward_ms"), place),
        {str(name): _by_rows(_curve(points, place)) for name, points in drafts.items()},
        None if rest is None else _seconds(rest, place),
    )


def _by_rows(curve: CostCurve) -> tuple[float, ...]:
    return tuple(curve(rows) for rows in range(1, curve.rows[-1] + 1))


def _curve(points: Any, place: str) -> CostCurve:
    """Raises InvalidSettingError where there are not two points at least, or no rows."""
    if not isinstance(points, dict) or len(points) < 2:
        raise InvalidSettingError(
            f"{place} has no curve of at least two points; give milliseconds by rows."
        )
    try:
        numbers = {rows: int(rows) for rows in points}
    except ValueError:
        raise InvalidSettingError(
            f"{place} has rows that are no numbers; give whole ones."
        ) from None
    found = {numbers[rows]: _seconds(value, place) for rows, value in points.items()}
    if min(found) < 1 or len(found) < len(points):
        raise InvalidSettingError(f"{place} has rows below 1, or some twice; give each once.")
    rows = sorted(found)
    return CostCurve(tuple(rows), tuple(found[row] for row in rows))


def _seconds(milliseconds: Any, place: str) -> float:
    try:
        value = float(milliseconds)
    except (TypeError, ValueError):
        value = -1.0
    if not 0.0 <= value <= _MAX_MS:
        raise InvalidSettingError(f"{place} has the time {shown(milliseconds)}; give milliseconds.")
    return value * 1e-3


def saved_from(name: str, profiles: Mapping[str, Profile], device: str) -> dict[str, Any]:
    """The costs of the machine of some profiles, by their labels, as a file has them.

    A drafter's forwards are as long as they took in deep levels, at the pace of the curve.
    """
    first = next(iter(profiles.values()))
    own = first.costs
    return {
        "kind": KIND,
        "name": name,
        "device": device,
        "forward_ms": {
            str(rows): 1e3 * seconds
            for rows, seconds in zip(own.curve.rows, own.curve.seconds, strict=True)
        },
        "draft_ms": {
            profile.started.drafter: {
                str(rows): 1e3 * seconds * profile.costs.level_paces[-1] / profile.costs.pace
                for rows, seconds in enumerate(profile.costs.draft, start=1)
            }
            for profile in profiles.values()
            if len(profile.costs.draft) > 1
        },
        "rest_ms": 1e3 * own.rest_s,
    }
