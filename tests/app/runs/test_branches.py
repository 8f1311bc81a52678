"""Branches on the page's side: whose runs have them, what they are asked, and what follows upon them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.runs.handlers import Handlers
from app.runs.run import Run
from app.runs.run_finder import record_of
from app.runs.session import ChatSession
from core.config import RunConfig
from core.errors import SpecDecodesError
from core.trace.events import RunStarted
from core.trace.fork import Fork
from tests.app.helpers import decoded, form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine

OTHER = 7


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def handlers(engine: ScriptedEngine) -> Handlers:
    return handlers_on(engine)


@pytest.fixture
def session(handlers: Handlers) -> ChatSession:
    """With an answer of ten tokens."""
    session = ChatSession()
    list(handlers.ask(session, "One", "", form_values(max_new_tokens=10, temperature=0.5)))
    return session


def started_of(run: Run) -> RunStarted:
    started = run.trace.first(RunStarted)
    assert started is not None
    return started


def forked(
    handlers: Handlers, session: ChatSession, parent: Run, token_ids: Any = (OTHER,)
) -> list[dict[str, Any]]:
    return decoded(handlers.fork(session, parent.run_id, 3, list(token_ids)))


def test_a_branch_is_another_answer_of_its_parents_turn_under_the_parents_settings(
    handlers: Handlers, session: ChatSession
) -> None:
    parent = session.runs[0]
    messages = forked(handlers, session, parent)
    head = {"user": "One", "mode": "ngram", "replaces": None, "turn": parent.run_id, "after": None}
    assert messages[0]["turn"] == head
    branch = session.runs[1]
    assert branch.config == parent.config
    assert started_of(branch).config == started_of(parent).config
    assert started_of(branch).parent == parent.trace.run_id
    assert branch.trace.token_ids[:4] == [*parent.trace.token_ids[:3], OTHER]
    assert len(branch.trace.token_ids) == 10
    assert branch.num_tokens == 6


def test_the_next_message_follows_upon_the_branch_that_is_shown(
    handlers: Handlers, session: ChatSession, engine: ScriptedEngine
) -> None:
    values = form_values(max_new_tokens=4)
    forked(handlers, session, session.runs[0])
    parent, branch = session.runs
    for shown, other in ((branch, parent), (parent, branch)):
        messages = decoded(handlers.ask(session, "Two", "", values, turns=[shown.run_id]))
        assert messages[0]["turn"]["after"] == shown.run_id
        told = engine.prompts[-1]
        assert isinstance(told, list)
        assert told[1] == {"role": "assistant", "content": shown.answer}
        assert other.answer not in str(told)
        assert len(told) == 3


def test_a_retry_of_a_branch_goes_on_anew_from_its_tokens_with_the_present_settings(
    handlers: Handlers, session: ChatSession, engine: ScriptedEngine
) -> None:
    forked(handlers, session, session.runs[0])
    parent, branch = session.runs
    values = form_values("naive", max_new_tokens=6)
    messages = decoded(handlers.retry(session, "", values, turns=[branch.run_id]))
    head = messages[0]["turn"]
    assert (head["replaces"], head["turn"]) == (branch.run_id, parent.run_id)
    assert engine.prompts[-1] == branch.fork
    anew = session.runs[1]
    assert started_of(anew).config["mode"] == "naive"
    assert anew.trace.token_ids[:4] == branch.trace.token_ids[:4]
    assert [run.run_id for run in session.runs] == [parent.run_id, anew.run_id]


def test_a_kept_run_has_branches_as_well(handlers: Handlers, engine: ScriptedEngine) -> None:
    session = ChatSession()
    session.visitor = "visitor-0"
    list(handlers.ask(session, "One", "", form_values(max_new_tokens=6)))
    kept = session.runs[0].run_id
    handlers.store.drop([kept])
    later = ChatSession()
    later.visitor = "visitor-0"
    list(handlers.fork(later, kept, 2, [OTHER]))
    parent, branch = later.runs
    assert (parent.run_id, branch.turn_id) == (kept, kept)
    assert RunConfig.from_dict(started_of(branch).config) == RunConfig.from_dict(
        started_of(parent).config
    )
    name = next(run.name for run in handlers.archive.runs("visitor-0") if run.run_id != kept)
    assert name == "branch at token 3: One"
    again = record_of(branch.run_id, branch.snapshot())
    assert again.fork == branch.fork and isinstance(branch.fork, Fork)


def test_a_failed_branch_is_a_run_that_failed(session: ChatSession) -> None:
    failing = handlers_on(ScriptedEngine(fail_at=1))
    for run in session.runs:
        failing.store._runs[run.run_id] = run
    messages = forked(failing, session, session.runs[0])
    assert messages[-1]["status"]["phase"] == "failed"
    kinds = [event["kind"] for message in messages for event in message["events"]]
    assert kinds[-1] == "run_failed"


def test_a_token_that_the_target_lacks_fails_the_branch_in_a_sentence(
    handlers: Handlers, session: ChatSession
) -> None:
    messages = forked(handlers, session, session.runs[0], [100_000])
    assert messages[-1]["status"]["text"] == "there is no token 100000; give another one."


def sentence(messages: Iterator[str]) -> str:
    with pytest.raises(SpecDecodesError) as refused:
        next(messages)
    return str(refused.value)


@pytest.mark.parametrize(
    ("position", "token_ids", "told"),
    [
        (11, [OTHER], "the position is 11 and the answer has 10 tokens; give one from 0 to 10."),
        (-1, [OTHER], "the position is -1"),
        (None, [OTHER], "the position is None"),
        ("3", [OTHER], "the position is '3'"),
        (3, [], "the token id is 'none'"),
        (3, ["a"], "the token id is 'a'"),
        (3, [True], "the token id is True"),
        (3, [-1], "the token id is -1"),
        (3, None, "The tokens are no list"),
        (3, "12", "The tokens are no list"),
        (3, [1] * 300, "300 tokens are chosen; give at most 256."),
    ],
)
def test_what_is_no_place_and_no_token_is_refused(
    position: Any, token_ids: Any, told: str, handlers: Handlers, session: ChatSession
) -> None:
    run_id = session.runs[0].run_id
    assert told in sentence(handlers.fork(session, run_id, position, token_ids))
    assert len(session.runs) == 1


@pytest.mark.parametrize("run_id", ["nothing", "", None, "../../etc", 3])
def test_a_run_that_there_is_not_is_refused(
    run_id: Any, handlers: Handlers, session: ChatSession
) -> None:
    assert "no such run" in sentence(handlers.fork(session, run_id, 3, [OTHER]))


def test_a_run_on_somebody_elses_shelf_is_refused(handlers: Handlers) -> None:
    owner, stranger = ChatSession(), ChatSession()
    owner.visitor, stranger.visitor = "visitor-0", "visitor-1"
    list(handlers.ask(owner, "One", "", form_values(max_new_tokens=6)))
    run_id = owner.runs[0].run_id
    handlers.store.drop([run_id])
    assert "no such run" in sentence(handlers.fork(stranger, run_id, 2, [OTHER]))


def test_an_answer_that_is_being_written_has_no_branches_yet() -> None:
    handlers, session = handlers_on(ScriptedEngine(step_s=0.02)), ChatSession()
    answer = handlers.ask(session, "One", "", form_values(max_new_tokens=500))
    next(answer)
    told = sentence(handlers.fork(session, session.runs[0].run_id, 0, [OTHER]))
    assert "still being written" in told
    handlers.stop(session)
    list(answer)


def test_one_answer_is_written_at_a_time(handlers: Handlers, session: ChatSession) -> None:
    slow = Run("slow", "Two", "ngram")
    session.append(slow)
    assert "still coming" in sentence(handlers.fork(session, session.runs[0].run_id, 3, [OTHER]))


def test_turns_that_are_none_of_the_chat_are_left_out(
    handlers: Handlers, session: ChatSession, engine: ScriptedEngine
) -> None:
    list(handlers.ask(session, "Two", "", form_values(max_new_tokens=3), turns=["x", None, {}]))
    assert engine.prompts[-1] == [{"role": "user", "content": "Two"}]
    assert json.loads(session.runs[-1].message(0)[0])["turn"]["after"] is None
