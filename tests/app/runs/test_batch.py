"""Prompts side by side on the page: a row each, kept one by one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.runs.batch import MOST_ROWS, batch, resume_batch
from app.runs.limits import Limits
from app.runs.session import ChatSession
from core.config import RunConfig
from core.errors import SpecDecodesError
from tests.app.helpers import handlers_on
from tests.app.scripted_engine import ScriptedEngine

VISITOR = "a-visitor"
PROMPTS = "One\n\n  Two  \nThree"


def config(num_tokens: int = 12, **changed: Any) -> RunConfig:
    return RunConfig.from_dict(
        {"mode": "ngram", "target": "scripted", "max_new_tokens": num_tokens, **changed}
    )


def rows_of(messages: Iterator[str]) -> list[dict[str, Any]]:
    """Each row as a page has it in the end; a gap fails the test."""
    rows: dict[str, dict[str, Any]] = {}
    ids: list[str] = []
    for text in messages:
        message = json.loads(text)
        ids = message["ids"]
        for news in message["rows"]:
            row = rows.setdefault(news["run"], {**news, "events": []})
            assert news["seq"] == len(row["events"])
            row["events"] += news["events"]
            row["status"] = news["status"]
    return [rows[run_id] for run_id in ids]


def tokens_of(row: dict[str, Any]) -> int:
    return sum(len(e["token_ids"]) for e in row["events"] if e["kind"] == "committed")


def test_every_line_is_a_row_with_its_own_answer() -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    rows = rows_of(batch(handlers, session, PROMPTS, 2, config()))
    assert [row["turn"]["user"] for row in rows] == ["One", "  Two  ", "Three"]
    assert [tokens_of(row) for row in rows] == [12, 12, 12]
    assert {row["status"]["phase"] for row in rows} == {"ended"}


def test_rows_are_kept_for_their_visitor() -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    session.visitor = VISITOR
    list(batch(handlers, session, PROMPTS, 3, config()))
    kept = handlers.archive.runs(session.visitor)
    assert sorted(run.prompt for run in kept) == sorted(["One", "  Two  ", "Three"])


def test_a_stop_ends_all_rows_and_keeps_what_they_have() -> None:
    handlers, session = handlers_on(ScriptedEngine(step_s=0.005)), ChatSession()
    session.visitor = VISITOR
    messages = batch(handlers, session, PROMPTS, 3, config(5000))
    seen = [next(messages) for _ in range(4)]
    session.stop_batch()
    rows = rows_of(iter([*seen, *messages]))
    assert all(row["status"]["text"] == "Stopped" for row in rows), rows
    assert all(0 < tokens_of(row) < 5000 for row in rows)
    assert len(handlers.archive.runs(session.visitor)) == 3


def test_a_page_that_is_loaded_anew_goes_on_with_its_rows() -> None:
    handlers, before, after = (
        handlers_on(ScriptedEngine(step_s=0.002)),
        ChatSession(),
        ChatSession(),
    )
    messages = batch(handlers, before, PROMPTS, 3, config(60))
    next(messages)
    messages.close()  # type: ignore[attr-defined]
    ids = [record.run_id for record in before.batch]
    told = [json.loads(text) for text in resume_batch(handlers, after, ids)]
    assert told[0]["ids"] == told[-1]["ids"] == ids
    assert all(row["seq"] == 0 for row in told[0]["rows"])
    assert [record.num_tokens for record in after.batch] == [60] * 3
    assert told[-1]["seconds"] > 0
    assert list(resume_batch(handlers, after, ids)) == [], "which it has already"


def test_rows_that_are_read_back_tell_no_time() -> None:
    handlers, before, after = handlers_on(ScriptedEngine()), ChatSession(), ChatSession()
    before.visitor = after.visitor = "a visitor"
    list(batch(handlers, before, PROMPTS, 3, config(6)))
    ids = [record.run_id for record in before.batch]
    handlers.store.drop(ids)
    (told,) = [json.loads(text) for text in resume_batch(handlers, after, ids)]
    assert (len(told["rows"]), told["seconds"]) == (3, None)


def test_raw_lines_are_continued_as_they_are() -> None:
    engine = ScriptedEngine()
    list(batch(handlers_on(engine), ChatSession(), "One\nTwo", 2, config(4), raw=True))
    assert engine.prompts == ["One", "Two"]


def test_rows_that_break_say_so() -> None:
    handlers, session = handlers_on(ScriptedEngine(fail_at=2)), ChatSession()
    rows = rows_of(batch(handlers, session, PROMPTS, 3, config()))
    assert {row["status"]["phase"] for row in rows} == {"failed"}
    assert all("broke" in row["status"]["text"] for row in rows)
    assert all(tokens_of(row) > 0 for row in rows), "what they had stays"


def test_a_second_batch_waits_for_the_end_of_the_first() -> None:
    handlers, session = handlers_on(ScriptedEngine(step_s=0.005)), ChatSession()
    first = batch(handlers, session, PROMPTS, 3, config(5000))
    next(first)
    with pytest.raises(SpecDecodesError, match="still running"):
        next(batch(handlers, session, PROMPTS, 3, config()))
    session.stop_batch()
    old = [json.loads(message)["ids"] for message in first][-1]
    list(batch(handlers, session, PROMPTS, 3, config()))
    assert all(handlers.store.get(run_id) is None for run_id in old)


@pytest.mark.parametrize(
    ("text", "size", "changed", "told"),
    [
        ("  \n ", 2, {}, "prompts"),
        ("x\n" * (MOST_ROWS + 1), 2, {}, f"{MOST_ROWS + 1} prompts are given; at most {MOST_ROWS}"),
        ("x", 0, {}, f"side by side is 0; give a number from 1 to {MOST_ROWS}"),
        ("x", MOST_ROWS + 1, {}, "side by side is"),
        ("x", 2.5, {}, "side by side is 2.5"),
        ("x", 2, {"max_new_tokens": 999}, "at most 50"),
        ("x", 2, {"target": "missing"}, "no model named missing"),
    ],
)
def test_what_cannot_be_run_is_said_in_words(
    text: str, size: Any, changed: dict[str, Any], told: str
) -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    handlers.limits = Limits(most_tokens=50)
    try:
        rows = rows_of(batch(handlers, session, text, size, config(**{"num_tokens": 5, **changed})))
    except SpecDecodesError as error:
        assert told in str(error)
    else:
        assert all(told in row["status"]["text"] for row in rows)
