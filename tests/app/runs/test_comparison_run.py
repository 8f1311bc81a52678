"""Comparisons: plain decoding is always there, warm-ups do not count, rounds alternate."""

import json
from typing import Any

import pytest

from app.runs.comparison_run import ComparisonRun, ComparisonRuns
from app.runs.handlers import Handlers
from core.config import RunConfig
from core.errors import SpecDecodesError
from tests.app.helpers import handlers_on
from tests.app.scripted_engine import ScriptedEngine
from tests.core.attached.streams import recorded
from tests.core.benchmark.completion_server import Script, completion_server


def configured(mode: str, num_tokens: int = 12, **changed: Any) -> RunConfig:
    return RunConfig.from_dict(
        {"mode": mode, "target": "scripted", "max_new_tokens": num_tokens, **changed}
    )


def messages_of(
    engine: ScriptedEngine, entries: list[RunConfig], num_repeats: int = 1
) -> list[dict[str, Any]]:
    made = made_on(handlers_on(engine), entries, num_repeats)
    return [json.loads(message) for message in made.follow()]


def made_on(
    handlers: Handlers, entries: list[RunConfig], num_repeats: int = 1, visitor: str = "me"
) -> ComparisonRun:
    return ComparisonRun(
        handlers, "Hi", entries, num_repeats, visitor=visitor, owner=visitor, memory=None
    )


def test_plain_decoding_is_measured_with_the_others() -> None:
    result = messages_of(ScriptedEngine(), [configured("ngram")], 2)[-1]["result"]
    assert [row["mode"] for row in result["rows"]] == ["naive", "ngram"]
    assert [row["num_runs"] for row in result["rows"]] == [2, 2]
    assert result["rows"][1]["speed_up"] > 1
    assert result["verdicts"][0]["is_reference"]
    assert result["verdicts"][1]["divergence"] is None
    assert len(result["runs"]) == 2


def test_everything_warms_up_and_then_they_alternate() -> None:
    stages, ends = [], []
    for message in messages_of(ScriptedEngine(step_s=0.01), [configured("ngram")], 2):
        contenders = (
            message["contenders"] if "result" in message else message["progress"]["contenders"]
        )
        ends = [one["told"] for one in contenders if one["phase"] == "done"]
        for one in contenders:
            stage = (one["told"].partition(":")[0], one["mode"])
            if one["phase"] == "running" and stage not in stages:
                stages.append(stage)
    assert stages == [
        ("warm-up", "naive"),
        ("warm-up", "ngram"),
        ("round 1 of 2", "naive"),
        ("round 1 of 2", "ngram"),
        ("round 2 of 2", "naive"),
        ("round 2 of 2", "ngram"),
    ]
    assert ends == ["done: 12 tokens"] * 2


def test_answers_with_a_least_length_warm_up_in_a_few_tokens() -> None:
    entry = configured("ngram", max_new_tokens=60, sampling={"min_new_tokens": 50})
    result = messages_of(ScriptedEngine(), [entry])[-1]["result"]
    assert [row["num_runs"] for row in result["rows"]] == [1, 1]


def test_a_raw_prompt_is_continued_as_it_is_by_all() -> None:
    engine = ScriptedEngine()
    entries = [configured("ngram")]
    made = ComparisonRun(
        handlers_on(engine), "Hi", entries, 1, visitor=None, owner=None, memory=None, raw=True
    )
    list(made.follow())
    assert engine.prompts == ["Hi"] * 4


def test_two_settings_of_one_mode_are_two_runs() -> None:
    wide = configured("ngram", drafter={"num_nodes": 64})
    result = messages_of(ScriptedEngine(), [configured("ngram"), wide])[-1]["result"]
    assert [row["run"] for row in result["rows"]] == [
        "naive",
        "ngram, num nodes 32",
        "ngram, num nodes 64",
    ]


@pytest.mark.parametrize(
    ("entries", "num_repeats", "told"),
    [
        ([], 1, "add settings"),
        ([configured("ngram")], 6, "from 1 to 5"),
        ([configured("ngram", n) for n in range(1, 17)], 1, "at most 16"),
        ([configured("ngram"), configured("ngram", target="other")], 1, "differ in target"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(
    entries: list[RunConfig], num_repeats: int, told: str
) -> None:
    with pytest.raises(SpecDecodesError, match=told):
        messages_of(ScriptedEngine(), entries, num_repeats)


def test_a_stopped_comparison_gives_no_result() -> None:
    made = made_on(handlers_on(ScriptedEngine(step_s=0.02)), [configured("ngram", 2000)])
    messages = made.follow()
    next(messages)
    made.stop()
    told: list[str] = []
    with pytest.raises(SpecDecodesError, match=r"^Stopped; nothing"):
        told.extend(messages)
    phases = [one["phase"] for one in json.loads(told[-1])["progress"]["contenders"]]
    assert phases == ["failed", "waiting"], "the one that ran"
    assert made.is_over


def test_a_comparison_goes_on_while_its_page_is_loaded_anew() -> None:
    comparisons = ComparisonRuns()
    made = made_on(handlers_on(ScriptedEngine(step_s=0.01)), [configured("ngram", 40)])
    comparisons.add(made)
    left = made.follow()
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert comparisons.find("somebody else", made.comparison_id) is None
    found = comparisons.find("me", made.comparison_id)
    assert found is made
    assert "result" in list(found.follow())[-1]
    assert "result" in list(found.follow())[-1], "also when it is over"


def test_a_comparison_that_nobody_watches_makes_room_for_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.runs.watchers.PATIENCE_S", 0.05)
    handlers = handlers_on(ScriptedEngine(step_s=0.02))
    left = made_on(handlers, [configured("ngram", 10**6)])
    other = made_on(handlers, [configured("ngram", 12)], visitor="other")
    assert "result" in list(other.follow())[-1]
    with pytest.raises(SpecDecodesError, match="nobody watched, and others waited; nothing"):
        list(left.follow())


def test_who_fails_is_left_out_with_its_sentence_and_the_others_go_on() -> None:
    class Half(ScriptedEngine):
        def run(self, prompt: Any, config: RunConfig, **more: Any) -> Any:
            if config.mode == "hybrid":
                raise SpecDecodesError("There is no head; give one.")
            return super().run(prompt, config, **more)

    entries = [configured("hybrid"), configured("ngram")]
    last = messages_of(Half(), entries, 2)[-1]
    assert [row["run"] for row in last["result"]["rows"]] == ["naive", "ngram"]
    assert [row["num_runs"] for row in last["result"]["rows"]] == [2, 2]
    told = {one["mode"]: (one["phase"], one["told"]) for one in last["contenders"]}
    assert told["hybrid"] == ("failed", "There is no head; give one.")
    assert told["ngram"][0] == "done"
    summary = last["result"]["figures"]["compare_summary"]["data"][0]
    assert summary["x"] == ["naive", "ngram"] and "template" not in summary
    assert set(last["result"]["templates"]) == {"light", "dark"}


def test_where_all_fail_the_first_sentence_is_told() -> None:
    with pytest.raises(SpecDecodesError, match="naive: The scripted engine broke"):
        messages_of(ScriptedEngine(fail_at=1), [configured("ngram")])


def speaking_llama(speculates: bool, name: str) -> Script:
    stream = recorded("llama-draft")
    script = Script([event for _, event in stream.events], finish=None)
    if not speculates:
        plain = {"draft_n": 0, "draft_n_accepted": 0}
        for place, event in enumerate(script.events):
            assert isinstance(event, dict)
            event["timings"] |= {**plain, "predicted_ms": 100.0 * place}
    script.found |= {
        "/v1/models": {"data": [{"id": name, "owned_by": "llamacpp"}]},
        "/slots": [{"speculative": speculates}],
        "/apply-template": {"prompt": "Hi"},
        "/tokenize": {"tokens": stream.prompt_token_ids},
    }
    return script


def test_a_server_stands_beside_our_modes_and_one_without_drafts_is_its_baseline() -> None:
    with (
        completion_server(speaking_llama(True, "m")) as fast,
        completion_server(speaking_llama(False, "m")) as slow,
    ):
        entries = [
            RunConfig(mode="server", target=fast, max_new_tokens=40),
            RunConfig(mode="server", target=slow, max_new_tokens=40),
            configured("ngram"),
        ]
        result = messages_of(ScriptedEngine(), entries)[-1]["result"]
    rows = {row["run"]: row for row in result["rows"]}
    naive, with_drafts, without, ngram = rows.values()
    assert [row["mode"] for row in rows.values()] == ["naive", "server", "server", "ngram"]
    assert with_drafts["speed_up"] > 1 and without["speed_up"] == 1 and ngram["speed_up"] > 1
    assert with_drafts["num_accepted"] == 20 and with_drafts["acceptance_length"] == pytest.approx(
        25 / 6
    )
    assert with_drafts["draft_share"] is None and naive["draft_share"] is not None
    assert "different prompts" in result["verdicts"][1]["refused"]


def test_servers_alone_are_compared_with_the_one_that_drafts_nothing() -> None:
    with (
        completion_server(speaking_llama(True, "m")) as fast,
        completion_server(speaking_llama(False, "m")) as slow,
    ):
        entries = [RunConfig(mode="server", target=url, max_new_tokens=40) for url in (fast, slow)]
        result = messages_of(ScriptedEngine(), entries)[-1]["result"]
    assert [verdict["is_reference"] for verdict in result["verdicts"]] == [False, True]
    assert result["verdicts"][0]["divergence"] is None
    assert result["verdicts"][0]["num_compared"] == 25
