"""What a page's runs remember: the visitor's own answers, and nobody else's."""

import copy
from collections.abc import Iterator

import pytest

from app.runs.batch import batch
from app.runs.comparison_run import ComparisonRun
from app.runs.run_form import config_from_values
from app.runs.session import ChatSession
from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from tests.app.helpers import form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine

ON = {"max_new_tokens": 6, "ngram.memory": True}


def exhaust(messages: Iterator[str]) -> None:
    for _ in messages:
        pass


def test_visitors_do_not_see_each_others_answers() -> None:
    engine = ScriptedEngine()
    handlers, template = handlers_on(engine), ChatSession()
    mine, theirs = copy.deepcopy(template), copy.deepcopy(template)
    for session in (mine, theirs, mine, mine, theirs):
        exhaust(handlers.ask(session, "Hi", "", form_values(**ON)))
    assert engine.num_remembered == [0, 0, 1, 2, 1]
    assert len(mine.memory_of("scripted").answers) == 3
    assert len(theirs.memory_of("scripted").answers) == 2


def test_a_page_that_is_opened_begins_with_nothing() -> None:
    session = ChatSession()
    session.memory_of("scripted").add([1, 2])
    assert copy.deepcopy(session).memory_of("scripted").answers == []


def test_nothing_is_remembered_until_it_is_asked_for() -> None:
    engine = ScriptedEngine()
    handlers, session = handlers_on(engine), ChatSession()
    for _ in range(2):
        exhaust(handlers.ask(session, "Hi", "", form_values(max_new_tokens=6)))
    exhaust(handlers.ask(session, "Hi", "", form_values("naive", max_new_tokens=6)))
    exhaust(handlers.ask(session, "Hi", "", form_values(**ON)))
    assert engine.num_remembered == [None, None, None, 0]


def test_an_answer_that_is_replaced_is_remembered() -> None:
    engine = ScriptedEngine()
    handlers, session = handlers_on(engine), ChatSession()
    exhaust(handlers.ask(session, "Hi", "", form_values(**ON)))
    exhaust(handlers.retry(session, "", form_values(**ON)))
    assert engine.num_remembered == [0, 1]


def test_each_target_has_a_memory_and_those_of_long_ago_are_let_go() -> None:
    session = ChatSession()
    for name in ("one", "two", "three", "one", "four"):
        session.memory_of(name).add([1])
    assert [len(session.memory_of(name).answers) for name in ("one", "four", "three", "two")] == [
        2, 1, 1, 0,
    ]  # fmt: skip


def test_rows_of_a_batch_share_what_the_page_remembers() -> None:
    engine = ScriptedEngine()
    handlers, session = handlers_on(engine), ChatSession()
    exhaust(handlers.ask(session, "Hi", "", form_values(**ON)))
    exhaust(batch(handlers, session, "One\nTwo\nThree", 2, config_from_values(form_values(**ON))))
    assert engine.num_remembered[:3] == [0, 1, 1]
    assert engine.num_remembered[3] > 1
    assert len(session.memory_of("scripted").answers) == 4


@pytest.mark.parametrize("memory", [None, SuffixMemory()], ids=["none", "own"])
def test_runs_of_a_comparison_see_none_of_each_others_answers(memory: SuffixMemory | None) -> None:
    """Else a later round would only measure that it had been asked before."""
    engine = ScriptedEngine()
    entry = RunConfig.from_dict(
        {"mode": "ngram", "target": "scripted", "max_new_tokens": 6, "drafter": {"memory": True}}
    )
    if memory is not None:
        memory.add([1, 2, 3])
    comparison = ComparisonRun(
        handlers_on(engine), "Hi", [entry], 2, visitor="me", owner="me", memory=memory
    )
    exhaust(comparison.follow())
    seen = None if memory is None else 1
    assert engine.num_remembered == [None, seen] * 3
    assert memory is None or memory.answers == [[1, 2, 3]]
