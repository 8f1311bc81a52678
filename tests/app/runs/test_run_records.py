"""Records, their messages, and the store that keeps them."""

import json
import math
from dataclasses import replace

import pytest

from app.runs.run import Outcome, Run
from app.runs.run_finder import record_of
from app.runs.run_store import RunStore
from app.runs.session import ChatSession
from core.config import RunConfig
from core.trace.events import Drafted, Event, RunFinished
from core.trace.file import Trace
from tests.app.scripted_engine import ScriptedEngine, ScriptedPrompt


def filled(record: Run, num_tokens: int = 8) -> Run:
    engine = ScriptedEngine()
    config = RunConfig(mode="ngram", max_new_tokens=num_tokens)
    prompt = engine.chat_prompt([{"role": "user", "content": "Hi"}])
    for event in engine.run(prompt, config, should_stop=bool):
        record.add(event)
    return record


def test_messages_from_any_point_make_up_the_same_events() -> None:
    record = filled(Run("r", "Hi", "ngram"))
    record.set_status("ended", "Finished")
    whole = json.loads(record.message(0)[0])["events"]
    rest = json.loads(record.message(3)[0])
    assert rest["events"] == whole[3:]
    assert "turn" not in rest


def test_the_page_gets_no_prompt_ids_and_short_floats() -> None:
    record = filled(Run("r", "Hi", "ngram"))
    record.set_status("ended", "Finished")
    events = json.loads(record.message(0)[0])["events"]
    assert events[0]["prompt_token_ids"] == []
    drafted = next(event for event in events if event["kind"] == "drafted")
    assert all(len(str(prob)) <= 6 for prob in drafted["draft_probs"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_message_is_json_whatever_an_event_holds(value: float) -> None:
    """A browser's JSON ends at NaN, and with it everything that the page would still be told."""
    record = Run("r", "Hi", "ngram")
    config = RunConfig(mode="ngram", max_new_tokens=8)
    for event in ScriptedEngine().run(ScriptedPrompt("Hi", [1]), config, should_stop=bool):
        if isinstance(event, Drafted):
            event = replace(event, draft_probs=[value] * len(event.token_ids), t_end_s=value)
        record.add(event)
    record.set_status("ended", "Finished")
    message = json.loads(record.message(0)[0], parse_constant=pytest.fail)
    drafted = next(event for event in message["events"] if event["kind"] == "drafted")
    assert set(drafted["draft_probs"]) == {None} and drafted["t_end_s"] is None
    assert message["stats"]["draft_s"] is None


def test_nothing_comes_after_an_end() -> None:
    record = Run("r", "Hi", "ngram")
    record.set_status("failed", "It broke.")
    record.set_status("running", "Reading the prompt")
    assert record.is_ended
    assert json.loads(record.message(0)[0])["status"]["text"] == "It broke."


def test_waiting_returns_at_once_where_something_is_new() -> None:
    record = Run("r", "Hi", "ngram")
    version = record.wait(-1, 0)
    assert record.wait(version, 0) == version
    record.set_status("running", "Reading the prompt")
    assert record.wait(version, 10) != version


def test_a_full_store_drops_the_oldest_ended_runs_only() -> None:
    store = RunStore(max_runs=2)
    running = store.create("One", "ngram")
    ended = store.create("Two", "ngram")
    ended.set_status("ended", "Finished")
    store.create("Three", "ngram")
    assert store.get(running.run_id) is running
    assert store.get(ended.run_id) is None


def test_a_store_full_of_nodes_makes_room_as_well() -> None:
    store = RunStore(max_nodes=10)
    big = filled(store.create("One", "ngram"), 200)
    big.set_status("ended", "Finished")
    store.create("Two", "ngram")
    assert store.get(big.run_id) is None


def test_ids_cannot_be_guessed() -> None:
    store = RunStore()
    ids = {store.create("Hi", "ngram").run_id for _ in range(50)}
    assert len(ids) == 50
    assert all(len(run_id) >= 20 for run_id in ids)


def test_turns_without_an_answer_are_left_out_of_the_prompt() -> None:
    session = ChatSession()
    session.append(Run("empty", "Lost", "ngram"))
    session.append(filled(Run("r", "Hi", "ngram"), 2))
    assert session.messages("", session.runs, "Next") == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Speculative decoding"},
        {"role": "user", "content": "Next"},
    ]


@pytest.mark.parametrize("stop", ["END", "\n{x}"])
def test_an_answer_that_a_stop_string_ended_says_which_now_and_when_it_is_read_back(
    stop: str,
) -> None:
    record = filled(Run("r", "Hi", "ngram"))
    events = [*record.trace.events[:-1], ended_by(stop, record.trace.events[-1])]
    again = record_of("r", Trace(events))
    live = Run("r", "Hi", "ngram")
    for event in events:
        live.add(event)
    live.close(Outcome("ended", "Cut off"))
    assert again.status_text == live.status_text == f"Ended before {stop!r}"


def ended_by(stop: str, end: Event) -> RunFinished:
    assert isinstance(end, RunFinished)
    return replace(end, reason="stop_string", stop=stop, cut_text=stop)
