"""Log lines are JSON, and a run's lines carry its id."""

import json
import logging

import pytest

from app.runs.logs import JsonLines, fields
from app.runs.session import ChatSession
from tests.app.helpers import form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records]


@pytest.mark.parametrize(("fail_at", "outcome"), [(None, "length"), (2, "failed")])
def test_an_ended_run_is_one_line_under_its_id(
    fail_at: int | None, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    handlers, session = handlers_on(ScriptedEngine(fail_at=fail_at)), ChatSession()
    with caplog.at_level(logging.INFO, "specdecodes"):
        list(handlers.ask(session, "A secret", "", form_values(max_new_tokens=50)))
    assert session.last is not None
    (line,) = lines_of(caplog)
    assert (line["run_id"], line["outcome"]) == (session.last.run_id, outcome)
    assert line["tokens"] == session.last.num_tokens
    assert ("broke" in str(line["error"])) == (outcome == "failed")
    assert "secret" not in json.dumps(line)


def test_a_stack_trace_and_odd_texts_stay_within_the_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("specdecodes").exception("it\nbroke", extra=fields(run_id="r\n\ud800"))
    text = JsonLines().format(caplog.records[-1])
    assert "\n" not in text
    line = json.loads(text)
    assert (line["message"], line["level"]) == ("it\nbroke", "ERROR")
    assert "two\nlines" in line["stack"]
