"""Comparisons: plain decoding is always there, warm-ups do not count, rounds alternate."""

import json
from typing import Any

import pytest

from app.contest import contest
from app.session import ChatSession
from core.config import RunConfig
from core.errors import SpecDecodesError
from tests.app.helpers import handlers_on
from tests.app.scripted_engine import ScriptedEngine


def configured(mode: str, num_tokens: int = 12, **changed: Any) -> RunConfig:
    return RunConfig.from_dict(
        {"mode": mode, "target": "scripted", "max_new_tokens": num_tokens, **changed}
    )


def messages_of(
    engine: ScriptedEngine, contenders: list[RunConfig], num_repeats: int = 1
) -> list[dict[str, Any]]:
    handlers = handlers_on(engine)
    made = contest(handlers, ChatSession(), "Hi", contenders, num_repeats)
    return [json.loads(message) for message in made]


def test_plain_decoding_is_measured_with_the_others() -> None:
    result = messages_of(ScriptedEngine(), [configured("ngram")], 2)[-1]["result"]
    assert [row["mode"] for row in result["rows"]] == ["naive", "ngram"]
    assert [row["num_runs"] for row in result["rows"]] == [2, 2]
    assert result["rows"][1]["speed_up"] > 1
    assert result["verdicts"][0]["is_reference"]
    assert result["verdicts"][1]["divergence"] is None
    assert len(result["runs"]) == 2


def test_every_contender_warms_up_and_then_they_alternate() -> None:
    stages = []
    for message in messages_of(ScriptedEngine(step_s=0.01), [configured("ngram")], 2):
        if "progress" in message and message["progress"]["stage"] not in stages:
            stages.append(message["progress"]["stage"])
    assert stages == [
        "warm-up: naive",
        "warm-up: ngram",
        "round 1: naive",
        "round 1: ngram",
        "round 2: naive",
        "round 2: ngram",
    ]


def test_two_settings_of_one_mode_are_two_runs() -> None:
    wide = configured("ngram", drafter={"num_nodes": 64})
    result = messages_of(ScriptedEngine(), [configured("ngram"), wide])[-1]["result"]
    assert [row["run"] for row in result["rows"]] == ["naive", "ngram", "ngram #2"]


@pytest.mark.parametrize(
    ("contenders", "num_repeats", "told"),
    [
        ([], 1, "add settings"),
        ([configured("ngram")], 6, "from 1 to 5"),
        ([configured("ngram", n) for n in (1, 2, 3, 4)], 1, "at most 4"),
        ([configured("ngram"), configured("ngram", target="other")], 1, "differ in target"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(
    contenders: list[RunConfig], num_repeats: int, told: str
) -> None:
    with pytest.raises(SpecDecodesError, match=told):
        messages_of(ScriptedEngine(), contenders, num_repeats)


def test_a_stopped_comparison_gives_no_result() -> None:
    handlers, session = handlers_on(ScriptedEngine(step_s=0.02)), ChatSession()
    made = contest(handlers, session, "Hi", [configured("ngram", 2000)], 1)
    next(made)
    session.stop_contest()
    with pytest.raises(SpecDecodesError, match="Stopped"):
        list(made)


def test_a_failing_run_ends_the_comparison_with_its_sentence() -> None:
    with pytest.raises(SpecDecodesError, match="naive: The scripted engine broke"):
        messages_of(ScriptedEngine(fail_at=1), [configured("ngram")])
