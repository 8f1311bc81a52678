"""What the controls do, without a page."""

import json

import pytest

from app.runs.run import Run
from app.runs.session import ChatSession
from core.errors import SpecDecodesError
from tests.app.helpers import decoded, form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine


def test_an_answer_is_sent_as_events_without_gaps() -> None:
    handlers = handlers_on(ScriptedEngine(step_s=0.002))
    messages = decoded(handlers.ask(ChatSession(), "Hi", "", form_values(max_new_tokens=30)))
    head, run = messages[0]["turn"], messages[0]["run"]
    assert head == {"user": "Hi", "mode": "ngram", "replaces": None, "turn": run, "after": None}
    seen = 0
    for message in messages:
        assert message["seq"] == seen
        seen += len(message["events"])
    assert messages[-1]["status"]["phase"] == "ended"
    assert messages[-1]["stats"]["num_tokens"] == 30


def test_an_empty_message_is_refused_before_anything_runs() -> None:
    engine = ScriptedEngine()
    with pytest.raises(SpecDecodesError, match="empty"):
        next(handlers_on(engine).ask(ChatSession(), " \n", "", form_values()))
    assert engine.prompts == []


def test_a_wrong_setting_is_refused_and_leaves_the_chat_as_it_was() -> None:
    session = ChatSession()
    with pytest.raises(SpecDecodesError, match="max_new_tokens is 0"):
        next(handlers_on(ScriptedEngine()).ask(session, "Hi", "", form_values(max_new_tokens=0)))
    assert session.runs == []


def test_raw_text_is_continued_without_template_turns_or_system_prompt() -> None:
    engine = ScriptedEngine()
    handlers, session = handlers_on(engine), ChatSession()
    values = form_values(max_new_tokens=4)
    list(handlers.ask(session, "One", "", values))
    list(handlers.ask(session, "Once upon", "", values, raw=True))
    assert engine.prompts[-1] == "Once upon"
    list(handlers.retry(session, "", values, raw=True))
    assert engine.prompts[-1] == "Once upon"
    with pytest.raises(SpecDecodesError, match="system prompt is no setting beside raw text"):
        next(handlers.ask(session, "Once upon", "Be brief.", values, raw=True))


def test_a_second_message_waits_for_the_first_answer() -> None:
    handlers, session = handlers_on(ScriptedEngine(step_s=0.05)), ChatSession()
    first = handlers.ask(session, "One", "", form_values())
    next(first)
    with pytest.raises(SpecDecodesError, match="still coming"):
        next(handlers.ask(session, "Two", "", form_values()))
    first.close()


def test_retry_replaces_the_last_turn_and_leaves_its_answer_out() -> None:
    engine = ScriptedEngine()
    handlers, session = handlers_on(engine), ChatSession()
    list(handlers.ask(session, "One", "", form_values(max_new_tokens=4)))
    old = session.runs[0].run_id
    messages = decoded(handlers.retry(session, "", form_values(max_new_tokens=4)))
    assert messages[0]["turn"]["replaces"] == old
    assert len(session.runs) == 1
    assert engine.prompts[-1] == [{"role": "user", "content": "One"}]


def test_retry_of_an_empty_chat_is_refused() -> None:
    with pytest.raises(SpecDecodesError, match="nothing to retry"):
        next(handlers_on(ScriptedEngine()).retry(ChatSession(), "", form_values()))


def test_stop_ends_the_run_and_keeps_its_tokens() -> None:
    handlers, session = handlers_on(ScriptedEngine(step_s=0.01)), ChatSession()
    messages = handlers.ask(session, "Hi", "", form_values(max_new_tokens=5000))
    while not session.runs or not session.runs[0].answer:
        next(messages)
    handlers.stop(session)
    last = decoded(messages)[-1]
    assert last["status"]["text"] == "Stopped"
    assert 0 < last["stats"]["num_tokens"] < 5000


def until_ended(record: Run) -> None:
    while not record.is_ended:
        record.wait(record.version, 0.05)


def test_a_run_that_nobody_watches_goes_on_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runs.watchers.PATIENCE_S", 0.0)
    handlers, session = handlers_on(ScriptedEngine(step_s=0.002)), ChatSession()
    messages = handlers.ask(session, "Hi", "", form_values(max_new_tokens=100))
    next(messages)
    messages.close()
    until_ended(session.runs[0])
    assert session.runs[0].status_text == "Reached the token limit"
    assert session.runs[0].num_tokens == 100


def test_a_run_that_nobody_watches_makes_room_for_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.runs.watchers.PATIENCE_S", 0.05)
    engine = ScriptedEngine(step_s=0.01)
    handlers, left, waiting = handlers_on(engine), ChatSession(), ChatSession()
    messages = handlers.ask(left, "Hi", "", form_values(max_new_tokens=10**6))
    next(messages)
    messages.close()
    last = decoded(handlers.ask(waiting, "Hi", "", form_values(max_new_tokens=4)))[-1]
    assert last["stats"]["num_tokens"] == 4
    until_ended(left.runs[0])
    assert left.runs[0].status_text == "Stopped: nobody watched, and others waited"
    assert left.runs[0].num_tokens > 0


def test_a_run_that_is_watched_is_nobodys_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runs.watchers.PATIENCE_S", 0.0)
    handlers, first, second = (
        handlers_on(ScriptedEngine(step_s=0.002)),
        ChatSession(),
        ChatSession(),
    )
    watched = handlers.ask(first, "Hi", "", form_values(max_new_tokens=100))
    next(watched)
    waiting = handlers.ask(second, "Hi", "", form_values(max_new_tokens=4))
    next(waiting)
    assert decoded(watched)[-1]["stats"]["num_tokens"] == 100
    assert decoded(waiting)[-1]["stats"]["num_tokens"] == 4


def test_a_page_goes_on_with_the_turns_that_it_remembers() -> None:
    engine = ScriptedEngine(step_s=0.002)
    handlers, before, after = handlers_on(engine), ChatSession(), ChatSession()
    before.visitor = after.visitor = "a visitor"
    list(handlers.ask(before, "One", "", form_values(max_new_tokens=4)))
    list(handlers.ask(before, "Two", "", form_values(max_new_tokens=4)))
    running = handlers.ask(before, "Three", "", form_values(max_new_tokens=200))
    next(running)
    running.close()
    ids = [record.run_id for record in before.runs]
    handlers.store.drop(ids[:1])  # which is on the visitor's shelf
    told, *messages = decoded(handlers.resume(after, [ids[0], "none/such", "", *ids[1:]]))
    assert told == {
        "resumed": [
            {"run": ids[0], "is_over": True},
            {"run": ids[1], "is_over": True},
            {"run": ids[2], "is_over": False},
        ]
    }
    assert {message["run"] for message in messages} == {ids[2]}
    assert messages[0]["seq"] == 0 and messages[0]["turn"]["user"] == "Three"
    assert messages[-1]["stats"]["num_tokens"] == 200
    assert [record.run_id for record in after.runs] == ids
    list(handlers.retry(after, "", form_values(max_new_tokens=4)))
    assert [message["content"] for message in engine.prompts[-1]][::2] == ["One", "Two", "Three"]


def test_a_page_of_somebody_else_goes_on_with_nothing() -> None:
    handlers, mine, theirs = handlers_on(ScriptedEngine()), ChatSession(), ChatSession()
    mine.visitor, theirs.visitor = "me", "they"
    list(handlers.ask(mine, "One", "", form_values(max_new_tokens=4)))
    run_id = mine.runs[0].run_id
    handlers.store.drop([run_id])
    assert decoded(handlers.resume(theirs, [run_id, 5, None, {}])) == [{"resumed": []}]
    assert theirs.runs == []


def test_a_turn_that_the_page_has_not_heard_of_stays_the_last() -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    first = handlers.store.create("Before", "naive")
    list(handlers.ask(session, "Quick", "", form_values(max_new_tokens=4)))
    assert session.resume([first]) == [first]
    assert [record.user_text for record in session.runs] == ["Before", "Quick"]
    assert session.resume([first, *session.runs]) == []
    assert [record.user_text for record in session.runs] == ["Before", "Quick"]


def test_clear_forgets_the_runs() -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    list(handlers.ask(session, "Hi", "", form_values(max_new_tokens=4)))
    run_id = session.runs[0].run_id
    assert "clear" in json.loads(handlers.clear(session))
    assert handlers.store.get(run_id) is None
    assert session.runs == []


def test_what_a_page_missed_is_sent_on_request() -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    list(handlers.ask(session, "Hi", "", form_values(max_new_tokens=10)))
    record = session.runs[0]
    message = json.loads(handlers.since(f"{record.run_id}:3"))
    assert message["seq"] == 3
    assert len(message["events"]) == len(record.trace.events) - 3


@pytest.mark.parametrize("request_text", ["", "nonsense", "unknown:0", "a:b", "../../etc:1"])
def test_requests_for_unknown_runs_give_nothing(request_text: str) -> None:
    assert handlers_on(ScriptedEngine()).since(request_text) == ""


def test_a_run_that_fails_says_so_and_keeps_its_tokens() -> None:
    handlers, session = handlers_on(ScriptedEngine(fail_at=2)), ChatSession()
    last = decoded(handlers.ask(session, "Hi", "", form_values()))[-1]
    assert last["status"] == {
        "phase": "failed",
        "text": "The scripted engine broke; run it again.",
        "done": 0,
        "total": 0,
    }
    assert last["stats"]["num_tokens"] > 0


def test_a_missing_model_fails_its_turn_with_the_sentence() -> None:
    handlers = handlers_on(ScriptedEngine())
    last = decoded(handlers.ask(ChatSession(), "Hi", "", form_values(target="missing")))[-1]
    assert last["status"]["phase"] == "failed"
    assert "no model named missing" in last["status"]["text"]


def test_a_mode_that_cannot_run_tells_why_once_a_target_is_loaded() -> None:
    handlers = handlers_on(ScriptedEngine(unavailable={"share-sd": "It needs other layers."}))
    assert handlers.describe_mode("share-sd")[1] == ""
    list(handlers.ask(ChatSession(), "Hi", "", form_values(max_new_tokens=4)))
    assert handlers.describe_mode("share-sd")[1] == "It needs other layers."
    assert handlers.describe_mode("naive")[1] == ""
