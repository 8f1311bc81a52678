"""A lab that is opened again from kept profiles: as it was, and only where figures are of one thing."""

import json
from dataclasses import replace
from typing import Any

import pytest

from app.runs.handlers import Handlers
from app.runs.kept_lab import kept_lab
from app.runs.lab import lab_answer
from app.runs.lab_profiles import Asked
from app.runs.lab_run import LabRun, asked_of
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.trace.events import RunStarted
from core.trace.file import Trace
from tests.app.helpers import decoded, form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine

VISITOR = "a" * 32
MODES = ["ngram", "sd-eagle"]


def profile(mode: str = "ngram", prompt: str = "Hi", **settings: Any) -> Trace:
    engine = ScriptedEngine()
    config = RunConfig.from_dict({"mode": mode, "max_new_tokens": 12, **settings})
    return Trace(list(engine.profile(engine.raw_prompt(prompt), config, should_stop=bool)))


@pytest.fixture(scope="module")
def handlers() -> Handlers:
    return handlers_on(ScriptedEngine())


@pytest.fixture(scope="module")
def shelf(handlers: Handlers) -> "Shelf":
    return Shelf(handlers)


class Shelf:
    """Keeps profiles, and opens them."""

    def __init__(self, handlers: Handlers):
        self._handlers = handlers
        self._count = 0

    def keep(self, mode: str = "ngram", prompt: str = "Hi", **settings: Any) -> str:
        """The id of a profile."""
        return self.keep_trace(profile(mode, prompt, **settings))

    def keep_trace(self, trace: Trace) -> str:
        self._count += 1
        run_id = f"profile-number-{self._count}"
        self._handlers.archive.keep(VISITOR, run_id, trace)
        return run_id

    def refusal(self, *run_ids: str, visitor: str = VISITOR) -> str:
        with pytest.raises(InvalidSettingError) as refused:
            kept_lab(self._handlers.finder, visitor, run_ids)
        return str(refused.value)


def test_a_lab_opens_again_as_it_was(handlers: Handlers) -> None:
    values = {key: value for mode in MODES for key, value in form_values(mode).items()}
    asked = [Asked("Hi", "prompt 1"), *asked_of("", 1)]
    made = LabRun(
        handlers, MODES, asked, {**values, "max_new_tokens": 24}, visitor=VISITOR, owner=None
    )
    last = decoded(made.follow())[-1]
    assert len(last["runs"]) == 4
    again = kept_lab(handlers.finder, VISITOR, last["runs"])
    assert again.is_over and again.visitor == VISITOR
    (told,) = map(json.loads, again.follow())
    assert {**told, "lab": ""} == {**last, "lab": ""}
    # The time of a lookup is taken anew with each replay, so the speeds of ngram are not to the bit.
    found, before = ({**lab_answer(lab, {"of": "given"})} for lab in (again, made))
    assert found.pop("drafters")[1] == before.pop("drafters")[1]
    assert found == before
    assert [row["name"] for row in found["groupings"][0]["rows"]] == [
        each.category for each in asked
    ]


def test_it_is_its_visitor_s_alone(shelf: Shelf) -> None:
    run_id = shelf.keep()
    assert "not kept any more" in shelf.refusal(run_id, visitor="b" * 32)
    assert "not kept any more" in shelf.refusal(run_id, "another-run")


def test_what_is_no_profile_is_refused(shelf: Shelf) -> None:
    engine = ScriptedEngine()
    config = RunConfig(mode="ngram", max_new_tokens=6)
    plain = Trace(list(engine.run(engine.raw_prompt("Hi"), config, should_stop=bool)))
    assert "is no profile" in shelf.refusal(shelf.keep_trace(plain))
    assert "0 profiles are chosen" in shelf.refusal()
    assert "73 profiles are chosen; choose 1 to 72" in shelf.refusal(*["profile-number-1"] * 73)


def test_profiles_that_are_not_of_one_measurement_are_refused(shelf: Shelf) -> None:
    own = shelf.keep()
    elsewhere = profile("sd-eagle")
    started = elsewhere.first(RunStarted)
    assert started is not None
    elsewhere.events[0] = replace(started, device="another machine")
    for other in (
        shelf.keep("sd-eagle", max_new_tokens=13),
        shelf.keep_trace(elsewhere),
        shelf.keep("sd-eagle", sampling={"temperature": 1.0}),
    ):
        assert "differ in target, machine" in shelf.refusal(own, other)
    sized = shelf.keep(prompt="Ho", drafter={"num_nodes": 7})
    assert "of ngram differ in their settings" in shelf.refusal(own, sized)
    assert "of ngram on the same prompt" in shelf.refusal(own, shelf.keep())
    assert "No prompt has" in shelf.refusal(own, shelf.keep("sd-eagle", prompt="Ho"))
    assert "at most 12 fit" in shelf.refusal(*(shelf.keep(prompt=f"{n}") for n in range(13)))


def test_a_profile_that_was_stopped_is_not_set_beside_a_whole_one(shelf: Shelf) -> None:
    events = profile("sd-eagle").events
    cut = next(place for place, event in enumerate(events) if event.step == 5)
    stopped = shelf.keep_trace(Trace(events[:cut]))
    assert "different answers" in shelf.refusal(shelf.keep(), stopped)
