"""The lab: a profile of a prompt, what is asked of it, and what is refused."""

import json
from typing import Any

import pytest

from app.runs.lab import lab_json, measure, resume_lab
from app.runs.run_form import config_from_values
from app.runs.session import ChatSession
from core.errors import InvalidSettingError
from core.trace.events import ProfileStarted
from core.trace.file import Trace
from tests.app.helpers import decoded, form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine
from tests.visualize.trace_builder import CHAIN, make_profile_trace, make_trace

SETTINGS = {"sd-eagle.depth": 6, "max_new_tokens": 24}


def measured(**changed: Any) -> Trace:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    config = config_from_values(form_values("sd-eagle", **SETTINGS, **changed))
    messages = decoded(measure(handlers, session, "Hi", config))
    assert messages[-1]["status"]["phase"] == "ended"
    assert session.lab is not None
    return session.lab.snapshot()


def answer(trace: Trace, **asked: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab_json(trace, asked, "light"))
    return found


def test_a_prompt_is_measured_and_the_best_setting_is_told() -> None:
    """Three drafted tokens are right at every place, and never a fourth."""
    trace = measured()
    assert trace.first(ProfileStarted) is not None
    found = answer(trace)
    assert (found["mode"], found["x"], found["y"]) == ("sd-eagle", "depth", "batch")
    assert [axis["name"] for axis in found["axes"]] == ["depth", "batch"]
    assert found["best"]["tau"] == 4.0
    assert found["best"]["settings"]["depth"] == 3
    assert found["given"]["settings"]["depth"] == 6
    assert found["num_missing"] == 0
    assert found["figure"]["data"][0]["type"] == "heatmap"


def test_costs_move_every_figure() -> None:
    trace = measured()
    usual = answer(trace)
    dear = answer(trace, drafting="50")
    assert dear["best"]["times_plain"] < usual["best"]["times_plain"]
    assert dear["plain_tokens_per_s"] == usual["plain_tokens_per_s"]
    slow = answer(trace, verification="2")
    assert slow["plain_tokens_per_s"] < usual["plain_tokens_per_s"]
    assert answer(trace, batch="8")["plain_tokens_per_s"] > usual["plain_tokens_per_s"]
    assert answer(trace, costs="h100-7b")["plain_tokens_per_s"] > usual["plain_tokens_per_s"]
    assert answer(trace, measure="tau")["figure"]["data"][0]["z"][0][2] == 4.0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"x": "width"}, "x is 'width'; give one of depth, batch"),
        ({"x": "batch"}, "both sides are batch"),
        ({"costs": "/etc/passwd"}, "costs is '/etc/passwd'; give one of own, h100-1b, h100-7b"),
        ({"batch": "0"}, "batch is '0'"),
        ({"drafting": "nan"}, "drafting is 'nan'"),
        ({"verification": "1e9"}, "verification is '1e9'"),
        ({"measure": "joy"}, "measure is 'joy'"),
    ],
)
def test_what_is_not_understood_is_refused(asked: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        lab_json(make_profile_trace(), asked, "light")


def test_a_run_that_is_no_profile_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="not of a profile"):
        lab_json(make_trace(CHAIN), {}, "light")


def test_plain_decoding_is_not_measured() -> None:
    config = config_from_values(form_values("naive"))
    with pytest.raises(InvalidSettingError, match="mode naive drafts nothing"):
        next(measure(handlers_on(ScriptedEngine()), ChatSession(), "Hi", config))


def test_a_page_that_is_loaded_anew_goes_on_with_its_profile() -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    config = config_from_values(form_values("sd-eagle", **SETTINGS))
    first = decoded(measure(handlers, session, "Hi", config))
    again = ChatSession()
    messages = decoded(resume_lab(handlers, again, [first[-1]["run"]]))
    assert messages[-1]["status"]["phase"] == "ended"
    assert again.lab is session.lab
