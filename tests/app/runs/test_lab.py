"""The lab: profiles of prompts under several modes, what is asked of them, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.runs.handlers import Handlers
from app.runs.lab import lab_answer, lab_curves, lab_map
from app.runs.lab_profiles import Asked
from app.runs.lab_run import MOST_OWN_QUESTIONS, LabRun, asked_of, profiled_modes
from app.runs.lab_runs import LabRuns
from core.errors import InvalidSettingError, SpecDecodesError
from core.profile.circumstance import DEVICE_NOTE
from core.trace.events import ProfileStarted, RunFailed
from tests.app.helpers import decoded, form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine

MODES = ["sd-eagle", "ngram"]
SETTINGS = {"sd-eagle.depth": 6, "max_new_tokens": 24}


class RefusingEngine(ScriptedEngine):
    """Refuses one mode where its profile begins."""

    def profile(self, prompt: Any, config: Any, *, should_stop: Callable[[], bool]) -> Any:
        if config.mode == "ngram":
            message = "ngram has no profile today; choose another mode."
            ended = {"step": 0, "t_start_s": 0.0, "t_end_s": 0.0}
            yield RunFailed(**ended, error="Refused", message=message, totals={})
            return
        yield from super().profile(prompt, config, should_stop=should_stop)


class DeviceEngine(ScriptedEngine):
    """Its steps are a device's."""

    def profile(self, prompt: Any, config: Any, *, should_stop: Callable[[], bool]) -> Any:
        for event in super().profile(prompt, config, should_stop=should_stop):
            on_device = isinstance(event, ProfileStarted)
            yield replace(event, device_steps=True) if on_device else event


def lab_of(
    engine: ScriptedEngine | None = None,
    names: list[str] | None = None,
    asked: list[Asked] | None = None,
    **changed: Any,
) -> tuple[LabRun, list[dict[str, Any]]]:
    """A lab at its end, and what it told."""
    lab = LabRun(
        handlers_on(engine or ScriptedEngine()),
        MODES if names is None else names,
        [Asked("Hi", "prompt 1")] if asked is None else asked,
        {**_all_fields(), **SETTINGS, **changed},
        visitor=None,
        owner=None,
    )
    return lab, decoded(lab.follow())


def _all_fields() -> dict[str, Any]:
    return {key: value for name in profiled_modes() for key, value in form_values(name).items()}


@pytest.fixture(scope="module")
def lab() -> LabRun:
    """Three drafted tokens are right at every place, and never a fourth; the text repeats itself."""
    found, messages = lab_of()
    last = messages[-1]
    assert last["is_over"] and (last["done"], last["total"]) == (2, 2)
    assert last["modes"] == [{"mode": name, "num_measured": 1, "refused": ""} for name in MODES]
    return found


def test_modes_stand_side_by_side_and_the_winner_is_told(lab: LabRun) -> None:
    found = lab_answer(lab, {})
    assert [each["mode"] for each in found["drafters"]] == MODES
    eagle, ngram = found["drafters"]
    assert (eagle["best"]["tau"], eagle["best"]["settings"]["depth"]) == (4.0, 3)
    assert eagle["given"]["settings"]["depth"] == 6
    assert (
        found["winner"]
        == max(found["drafters"], key=lambda each: each["best"]["times_plain"])["mode"]
    )
    assert (found["num_prompts"], found["num_tokens"], found["note"]) == (1, 24, "")
    for each in (eagle, ngram):
        times = each["best"]["tokens_per_s"] / found["plain_tokens_per_s"]
        assert times == pytest.approx(each["best"]["times_plain"])
        assert each["num_missing"] == 0


def test_costs_and_acceptance_move_every_figure(lab: LabRun) -> None:
    def best(**asked: str) -> tuple[float, float]:
        found = lab_answer(lab, asked)
        return found["drafters"][0]["best"]["times_plain"], found["plain_tokens_per_s"]

    gain, plain = best()
    assert best(drafting="50")[0] < gain
    assert best(drafting="50")[1] == plain
    assert best(verification="2")[1] < plain
    assert best(batch="8")[1] > plain
    assert best(costs="h100-7b")[1] > plain
    assert best(acceptance="0.3")[0] < gain < best(acceptance="8")[0]
    assert best(acceptance="0.3")[1] == plain
    never = lab_answer(lab, {"acceptance": "0", "of": "given"})
    assert {each["best"]["tau"] for each in never["drafters"]} == {1.0}
    kinds = next(each for each in never["groupings"] if each["by"] == "kind")
    assert {cell["acceptance"] for row in kinds["rows"] for cell in row["cells"]} <= {0.0, None}


def test_a_curve_is_drawn_by_hand(lab: LabRun) -> None:
    found = lab_answer(lab, {})
    assert found["handles"] == [1, 2, 4, 8, 16, 32, 64]
    assert [each["name"] for each in found["costs"]] == ["own", "h100-1b", "h100-7b", "drawn"]
    heights = [10.0, *(1000.0 + rows for rows in found["handles"][1:])]
    points = ",".join(f"{rows}:{ms}" for rows, ms in zip(found["handles"], heights, strict=True))
    drawn = lab_answer(lab, {"costs": "drawn", "curve": points, "verification": "2"})
    assert drawn["curve_ms"] == pytest.approx(heights)
    assert drawn["verify_ms"] == pytest.approx(20.0)
    assert drawn["winner"] == "plain decoding", "a second row costs a hundred times the first"


def test_tokens_are_grouped_at_the_best_or_the_given_settings(lab: LabRun) -> None:
    best, given = (lab_answer(lab, {"of": of}) for of in ("best", "given"))
    assert [each["by"] for each in best["groupings"]] == ["category", "kind", "position", "context"]
    for found in (best, given):
        for grouping in found["groupings"]:
            assert sum(row["num_tokens"] for row in grouping["rows"]) == 24
            assert all(len(row["cells"]) == 2 for row in grouping["rows"])

    def eagle(found: Any) -> Any:
        return found["groupings"][0]["rows"][0]["cells"][0]

    # At depth 3 nothing wrong is drafted, and a fourth token always is.
    assert eagle(best)["acceptance"] == 1.0
    assert eagle(given)["acceptance"] < 1.0


def test_curves_and_the_map_are_figures(lab: LabRun) -> None:
    curves = lab_curves(lab, {"verification": "4", "measure": "times_plain"}, "light")
    along = curves["figures"]
    assert [words.startswith("fastest: ") for words in curves["winners"]] == [True, True]
    assert [[line["name"] for line in each["data"]] for each in along] == [
        [*MODES, "plain decoding"]
    ] * 2
    assert along[1]["layout"]["shapes"][0]["x0"] == 4.0
    found = lab_map(lab, {"mode": "ngram", "sized": "yes"}, "dark")
    assert (found["mode"], found["x"], found["y"]) == ("ngram", "num_nodes", "min_match")
    assert found["figure"]["data"][0]["type"] == "heatmap"
    eagle = lab_map(lab, {"measure": "tau"}, "dark")
    assert (eagle["mode"], eagle["x"], eagle["y"]) == ("sd-eagle", "depth", "batch")
    assert eagle["figure"]["data"][0]["z"][0][2] == 4.0


def test_several_prompts_are_added_up_each_under_its_category() -> None:
    asked = [Asked("Hi", "prompt 1"), Asked("Ho", "chat"), Asked("Hum", "chat")]
    lab, messages = lab_of(asked=asked)
    assert (messages[-1]["done"], messages[-1]["total"]) == (6, 6)
    found = lab_answer(lab, {})
    assert (found["num_prompts"], found["num_tokens"]) == (3, 72)
    rows = found["groupings"][0]["rows"]
    assert [(row["name"], row["num_tokens"]) for row in rows] == [("prompt 1", 24), ("chat", 48)]


def test_a_mode_that_refuses_says_why_and_the_others_go_on() -> None:
    lab, messages = lab_of(RefusingEngine(), asked=[Asked("Hi", "a"), Asked("Ho", "b")])
    eagle, ngram = messages[-1]["modes"]
    assert (eagle["num_measured"], eagle["refused"]) == (2, "")
    assert (messages[-1]["status"], messages[-1]["failure"]) == ("Measured", "")
    assert (ngram["num_measured"], ngram["refused"]) == (
        0,
        "ngram has no profile today; choose another mode.",
    )
    assert [each["mode"] for each in lab_answer(lab, {})["drafters"]] == ["sd-eagle"]
    _, messages = lab_of(RefusingEngine(), ["ngram"])
    assert messages[-1]["status"] == "Failed"
    assert messages[-1]["failure"].startswith("Nothing was measured; each drafter ")
    lab, messages = lab_of(**{"sd-eagle.depth": 10_000})
    assert "depth" in messages[-1]["modes"][0]["refused"]
    assert [each["mode"] for each in lab_answer(lab, {})["drafters"]] == ["ngram"]


def test_a_lab_that_breaks_says_what_broke_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Handlers, *_: Any, **__: Any) -> None:
        raise OSError("no thread is left")

    monkeypatch.setattr(Handlers, "start", broken)
    _, messages = lab_of()
    assert messages[-1]["status"] == "Failed"
    assert messages[-1]["failure"] == "The lab broke: no thread is left; measure again."


def test_where_a_device_does_the_steps_the_page_says_what_its_speeds_are() -> None:
    lab, _ = lab_of(DeviceEngine(), ["ngram"])
    assert lab_answer(lab, {})["note"] == DEVICE_NOTE


def test_a_stop_leaves_what_was_measured() -> None:
    handlers = handlers_on(ScriptedEngine(step_s=0.01))
    values = {**_all_fields(), "max_new_tokens": 4000}
    lab = LabRun(handlers, MODES, [Asked("Hi", "a")], values, visitor=None, owner=None)
    next(lab.follow())
    lab.stop()
    last = decoded(lab.follow())[-1]
    assert (last["status"], last["done"], last["is_over"]) == ("Stopped", 0, True)
    assert not last["failure"], "a stop is none"
    with pytest.raises(InvalidSettingError, match="Nothing is measured yet"):
        lab_answer(lab, {})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"costs": "/etc/passwd"},
            "costs is '/etc/passwd'; give one of own, h100-1b, h100-7b, drawn",
        ),
        ({"costs": "drawn", "curve": "/etc/passwd"}, "curve is '/etc/passwd'"),
        ({"costs": "drawn"}, "curve is ''"),
        ({"costs": "drawn", "curve": "1:5"}, "no curve of at least two points"),
        ({"batch": "0"}, "batch is '0'"),
        ({"drafting": "nan"}, "drafting is 'nan'"),
        ({"verification": "1e9"}, "verification is '1e9'"),
        ({"acceptance": "-1"}, "the scale of acceptance is -1.0"),
        ({"acceptance": "much"}, "the scale of acceptance is nan"),
        ({"of": "worst"}, "of is 'worst'"),
    ],
)
def test_what_is_not_understood_is_refused(
    asked: dict[str, str], message: str, lab: LabRun
) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        lab_answer(lab, asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"mode": "hybrid"}, "mode is 'hybrid'; give one of sd-eagle, ngram"),
        ({"x": "width"}, "x is 'width'; give one of depth, batch"),
        ({"x": "batch"}, "both sides are batch"),
        ({"measure": "joy"}, "measure is 'joy'"),
    ],
)
def test_a_map_of_what_there_is_not_is_refused(
    asked: dict[str, str], message: str, lab: LabRun
) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        lab_map(lab, asked, "light")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "No drafter is chosen"),
        (None, "No drafter is chosen"),
        (["naive"], "mode 'naive' has no profile"),
        (list(profiled_modes())[:7], "7 drafters are chosen; at most 6 fit"),
    ],
)
def test_modes_that_cannot_be_are_refused(names: Any, message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        LabRun(
            handlers_on(ScriptedEngine()), names, [], form_values("naive"), visitor=None, owner=None
        )


def test_where_no_mode_can_begin_the_first_ones_sentence_is_told() -> None:
    with pytest.raises(SpecDecodesError, match="depth"):
        lab_of(names=["sd-eagle"], **{"sd-eagle.depth": 10_000})


def test_prompts_are_lines_and_own_questions() -> None:
    assert asked_of(" Hi \n\n Ho", 0) == [Asked("Hi", "prompt 1"), Asked("Ho", "prompt 2")]
    own = asked_of("", MOST_OWN_QUESTIONS)
    assert len({each.category for each in own}) == MOST_OWN_QUESTIONS
    assert [each.category for each in asked_of("Hi", 1)] == ["prompt 1", own[0].category]


@pytest.mark.parametrize(
    ("text", "num_own", "message"),
    [
        ("", 0, "There is no prompt"),
        (None, 0, "There is no prompt"),
        ("Hi", 9, "own questions is 9"),
        ("Hi", None, "own questions is None"),
        ("a\n" * 13, 0, "13 prompts are given; at most 12 fit"),
    ],
)
def test_prompts_that_cannot_be_are_refused(text: Any, num_own: Any, message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        asked_of(text, num_own)


def test_a_lab_is_found_by_its_visitor_as_long_as_it_is_kept(lab: LabRun) -> None:
    labs = LabRuns()
    labs.add(lab)
    assert labs.find(None, lab.lab_id) is lab
    assert labs.find("somebody", lab.lab_id) is None
    assert labs.find(None, "another") is None
