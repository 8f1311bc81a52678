"""Costs by name, from files and by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.backends.cost_curve import CostCurve
from core.errors import InvalidSettingError
from core.profile.profile import profile_of
from core.profile.saved_costs import KIND, named_costs, saved_from, shipped_names
from tests.visualize.trace_builder import make_profile_trace


@pytest.mark.parametrize("name", shipped_names())
def test_costs_that_come_with_the_program_are_read(name: str) -> None:
    saved = named_costs(name)
    assert saved is not None
    assert "H100" in saved.name
    assert saved.curve(1) < saved.curve(64) < 10 * saved.curve(1)


def test_the_machine_of_the_profiles_has_no_costs_of_its_own() -> None:
    assert named_costs("own") is None


def test_a_curve_is_drawn_in_rows_and_milliseconds() -> None:
    saved = named_costs("1:10, 8:12,64:40")
    assert saved is not None
    assert saved.curve == CostCurve((1, 8, 64), (0.01, 0.012, 0.04))
    profile = profile_of(make_profile_trace())
    costs = saved.for_profile(profile)
    assert costs.draft == pytest.approx((0.0015, 0.0015, 0.003)), (
        "as slow as the profile found them"
    )
    assert costs.rest_s == profile.costs.rest_s


def test_a_drafter_takes_its_share_where_nothing_else_is_known() -> None:
    saved = named_costs("1:20,8:24")
    assert saved is not None
    costs = saved.for_profile(profile_of(make_profile_trace()))
    assert costs.draft == pytest.approx((0.003, 0.003, 0.006))
    assert costs.rest_s == pytest.approx(0.006)


def test_saved_costs_come_back(tmp_path: Path) -> None:
    profile = profile_of(make_profile_trace())
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(saved_from("mine", {"eagle": profile}, "a machine")))
    saved = named_costs(str(path))
    assert saved is not None
    costs = saved.for_profile(profile)
    assert (saved.name, costs.curve) == ("mine", profile.costs.curve)
    assert costs.draft == pytest.approx((0.0015, 0.0015, 0.003)), (
        "as deep levels took, half as long again"
    )
    assert costs.rest_s == pytest.approx(profile.costs.rest_s)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h200", "give own, one of h100-1b, h100-7b, a file, or a curve"),
        ("1:10", "no curve of at least two points"),
        ("1:10,2:fast", "has the time 'fast'; give milliseconds"),
        ("1:10,2:-1", "give milliseconds"),
        ("1:10,x:2", "rows that are no numbers"),
        ("0:10,2:12", "rows below 1"),
    ],
)
def test_words_that_name_no_costs_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        named_costs(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "something"}, "holds no costs"),
        ({"forward_ms": {"1": 2}}, "no curve of at least two points"),
        ({"forward_ms": [1, 2]}, "no curve of at least two points"),
        ({"draft_ms": [1]}, "draft_ms is"),
        ({"draft_ms": {"sd-eagle": {"1": None, "2": 1}}}, "has the time None"),
        ({"rest_ms": "long"}, "has the time 'long'"),
    ],
)
def test_a_file_that_holds_no_costs_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    values = {"kind": KIND, "name": "mine", "forward_ms": {"1": 2.0, "8": 3.0}, **change}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InvalidSettingError, match=message):
        named_costs(str(path))
    path.write_text("no json")
    with pytest.raises(InvalidSettingError, match="holds no costs"):
        named_costs(str(path))
