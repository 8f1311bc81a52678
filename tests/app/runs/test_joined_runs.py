"""Runs of several requests on one engine: who joins whom, and who waits."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from app.runs.handlers import Handlers
from app.runs.run import Run
from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.errors import InvalidSettingError
from core.trace.events import Event
from tests.app.helpers import handlers_on
from tests.app.scripted_engine import ScriptedEngine, ScriptedPrompt

PATIENCE_S = 30.0


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.005)


def start(
    handlers: Handlers, texts: list[str], *, joins: bool = True, size: int = 2, **settings: Any
) -> list[Run]:
    """A request with a run for each text."""
    config = RunConfig.from_dict({"target": "scripted", "max_new_tokens": 10_000, **settings})
    runs = [handlers.store.create(text, config.mode) for text in texts]
    configs = [config] * len(texts)
    handlers.start(runs, texts, configs, None, None, memory=None, size=size, joins=joins)
    return runs


def started(handlers: Handlers, text: str, **settings: Any) -> Run:
    (run,) = start(handlers, [text], **settings)
    until(lambda: run.num_tokens > 0)
    return run


def test_a_request_joins_the_one_that_runs_and_both_end_by_themselves() -> None:
    engine = ScriptedEngine(step_s=0.005)
    handlers = handlers_on(engine)
    first = started(handlers, "first")
    second = started(handlers, "second")
    assert engine.num_running == 2 and not first.is_ended
    first.stop.set()
    until(lambda: first.is_ended)
    assert not second.is_ended and second.is_running
    third = started(handlers, "third")
    second.stop.set()
    third.stop.set()
    until(lambda: handlers.pool.fair_queue.length == 0)
    assert [run.status_text for run in (first, second, third)] == ["Stopped"] * 3
    assert engine.most_running == 2
    assert handlers.totals.read()[0] == 3


def test_no_more_than_fit_run_and_the_next_begins_when_one_has_ended() -> None:
    engine = ScriptedEngine(step_s=0.002)
    handlers = handlers_on(engine)
    runs = start(handlers, ["a", "b", "c"], max_new_tokens=40)
    runs += start(handlers, ["d"], max_new_tokens=40)
    until(lambda: all(run.is_ended for run in runs))
    assert engine.most_running == 2 and engine.prompts == ["a", "b", "c", "d"]
    assert {run.status_text for run in runs} == {"Reached the token limit"}
    assert all(run.num_tokens == 40 for run in runs)


def test_nobody_who_came_earlier_is_passed_over() -> None:
    engine = ScriptedEngine(step_s=0.005)
    handlers = handlers_on(engine)
    first = started(handlers, "first")
    (alone,) = start(handlers, ["alone"], joins=False, max_new_tokens=20)
    (late,) = start(handlers, ["late"], max_new_tokens=20)
    time.sleep(0.1)
    assert engine.num_running == 1, "who came before the late one does not join"
    first.stop.set()
    until(lambda: late.is_ended)
    assert engine.prompts == ["first", "alone", "late"] and engine.most_running == 1
    assert alone.num_tokens == late.num_tokens == 20


def test_a_request_for_another_engine_waits_for_its_turn() -> None:
    engine = ScriptedEngine(step_s=0.005)
    handlers = handlers_on(engine)
    first = started(handlers, "first")
    (other,) = start(handlers, ["other"], dtype="bfloat16", max_new_tokens=4)
    time.sleep(0.1)
    assert engine.num_running == 1 and other.num_tokens == 0
    first.stop.set()
    until(lambda: other.is_ended)
    assert other.num_tokens == 4


def test_one_that_is_stopped_while_it_waits_never_begins() -> None:
    engine = ScriptedEngine(step_s=0.005)
    handlers = handlers_on(engine)
    running = [started(handlers, "first"), started(handlers, "second")]
    (waiting,) = start(handlers, ["third"])
    waiting.stop.set()
    until(lambda: waiting.is_ended)
    assert waiting.status_text == "Stopped before it began" and "third" not in engine.prompts
    for run in running:
        run.stop.set()
    until(lambda: handlers.pool.fair_queue.length == 0)


class Refusing(ScriptedEngine):
    """Reads no prompt that says so."""

    def raw_prompt(self, text: str) -> ScriptedPrompt:
        if text == "unreadable":
            raise InvalidSettingError("the prompt cannot be read; give another one.")
        return super().raw_prompt(text)


def test_what_is_refused_ends_alone() -> None:
    handlers = handlers_on(Refusing(step_s=0.005))
    first = started(handlers, "first")
    (refused,) = start(handlers, ["unreadable"])
    until(lambda: refused.is_ended)
    assert refused.failure == "the prompt cannot be read; give another one."
    assert refused.outcome is not None and refused.outcome.error == "InvalidSettingError"
    assert not first.is_ended
    first.stop.set()
    until(lambda: first.is_ended)
    assert first.failure is None


class Breaking(ScriptedEngine):
    """Breaks outside of its runs when it is told."""

    def __init__(self, **named: Any):
        super().__init__(**named)
        self.is_broken = threading.Event()

    def run_joining(
        self, next_run: Callable[[], JoiningRun | None], size: int
    ) -> Iterator[tuple[int, Event]]:
        for told in super().run_joining(next_run, size):
            if self.is_broken.is_set():
                raise ValueError("a wire is loose")
            yield told


def test_an_engine_that_breaks_ends_all_that_it_runs_and_those_that_were_taken() -> None:
    engine = Breaking(step_s=0.005)
    handlers = handlers_on(engine)
    runs = [started(handlers, "first"), *start(handlers, ["second", "third"])]
    until(lambda: runs[1].num_tokens > 0)
    engine.is_broken.set()
    until(lambda: all(run.is_ended for run in runs))
    assert {run.failure for run in runs} == {"The run broke: a wire is loose"}
    assert handlers.pool.fair_queue.length == 0
