"""Engines in processes of their own: the same answers, and a crash that costs one run."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.engines.engine_slot import EngineKey, Progress
from app.engines.model_pool import ModelPool
from app.engines.places import OwnMachine, StartedWorker
from app.engines.remote_engine import RemoteEngine, Workers
from app.engines.worker import WorkerLoad, load_in_worker
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.run_store import RunStore
from app.runs.session import ChatSession
from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.drafters.suffix_memory import SuffixMemory
from core.errors import (
    InvalidSettingError,
    ModelUnavailableError,
    SpecDecodesError,
    TraceFormatError,
)
from core.trace.events import Proposed, RunFailed, RunFinished, RunStarted
from core.trace.file import Trace, load_trace, save_trace
from tests.app.helpers import form_values
from tests.app.scripted_engine import ScriptedEngine
from tests.app.scripted_worker import ForeignError, load_scripted_worker
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model

MESSAGES = [{"role": "user", "content": "Hi"}]
PATIENCE_S = 60.0


@pytest.fixture
def load() -> Workers:
    return Workers(load_scripted_worker, 2)


def loaded(load: Workers, target: str = "scripted") -> RemoteEngine:
    return load(EngineKey(target, None), lambda stage, done, total: None)


def config(num_tokens: int = 30, **changed: Any) -> RunConfig:
    return RunConfig.from_dict({"mode": "ngram", "max_new_tokens": num_tokens, **changed})


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.01)


def test_an_engine_elsewhere_gives_the_same_events(load: Workers) -> None:
    engine, here = loaded(load), ScriptedEngine()
    for num_tokens in (5, 12):
        given = list(engine.run(engine.chat_prompt(MESSAGES), config(num_tokens), should_stop=bool))
        assert given == list(
            here.run(here.chat_prompt(MESSAGES), config(num_tokens), should_stop=bool)
        )
    assert engine.unavailable_reason("layer-skip") == "layer-skip needs other layers."
    assert engine.unavailable_reason("ngram") is None


def test_prompts_side_by_side_come_from_there_with_their_places(load: Workers) -> None:
    engine, here = loaded(load), ScriptedEngine()
    runs = [(MESSAGES, config(num_tokens)) for num_tokens in (5, 12, 7)]
    there = list(engine.run_batch(runs, 2, should_stop=bool))
    pairs = [(here.chat_prompt(messages), own) for messages, own in runs]
    assert there == list(here.run_batch(pairs, 2, should_stop=bool))


def test_runs_join_there_and_leave_one_by_one(load: Workers) -> None:
    engine = loaded(load)
    stopped = threading.Event()
    waiting = [
        JoiningRun(lambda: MESSAGES, config(10_000), stopped.is_set),
        JoiningRun(lambda: [4, 5], config(6)),
        JoiningRun(lambda: "Once", config(8)),
    ]
    traces: list[Trace] = []

    def next_run() -> JoiningRun | None:
        """The second comes when the first has begun to answer, and the third after its end."""
        is_time = not traces or traces[-1].stats.num_tokens > 0
        if len(traces) == 2:
            is_time = all(trace.first(RunFinished) for trace in traces)
        if not waiting or not is_time:
            return None
        traces.append(Trace())
        return waiting.pop(0)

    for place, event in engine.run_joining(next_run, 2):
        traces[place].events.append(event)
        if len(traces) > 1 and traces[1].first(RunFinished):
            stopped.set()
    ends = [trace.first(RunFinished) for trace in traces]
    assert [end.reason for end in ends if end] == ["stopped", "length", "length"]
    here = ScriptedEngine()
    alone = here.run(here.token_prompt([4, 5]), config(6), should_stop=bool)
    assert traces[1].token_ids == Trace(list(alone)).token_ids
    assert traces[1].first(RunStarted).prompt_token_ids == [4, 5]  # type: ignore[union-attr]
    assert list(engine.run("Hi", config(3), should_stop=bool)), "and it goes on as before"


def test_a_crash_ends_all_that_have_joined(load: Workers) -> None:
    before = children()
    engine = loaded(load)
    waiting = [JoiningRun(lambda: MESSAGES, config(10_000)) for _ in range(2)]
    traces = [Trace(), Trace()]

    def next_run() -> JoiningRun | None:
        return waiting.pop() if waiting else None

    for place, event in engine.run_joining(next_run, 2):
        traces[place].events.append(event)
        if all(trace.token_ids for trace in traces) and engine.is_usable:
            for pid in children() - before:
                os.kill(pid, signal.SIGKILL)
    failed = [trace.first(RunFailed) for trace in traces]
    assert [event.error for event in failed if event] == ["WorkerLost"] * 2
    assert not engine.is_usable


def test_a_profile_comes_from_there_as_well(load: Workers) -> None:
    engine, here = loaded(load), ScriptedEngine()
    there = list(engine.profile(MESSAGES, config(6), should_stop=bool))
    assert there == list(here.profile(here.chat_prompt(MESSAGES), config(6), should_stop=bool))
    assert any(isinstance(event, Proposed) for event in there)


def test_answers_from_there_come_into_the_memory_that_is_here(load: Workers) -> None:
    engine, memory = loaded(load), SuffixMemory()
    told = []
    for num_tokens in (5, 12):
        trace = Trace(
            list(engine.run(MESSAGES, config(num_tokens), memory=memory, should_stop=bool))
        )
        assert memory.answers[-1] == trace.token_ids
        told.append(started(trace).memory)
    assert [item["num_answers"] for item in told if item] == [0, 1]
    assert memory.tokenizer == "scripted"
    traces = [Trace(), Trace()]
    runs = [(MESSAGES, config(num_tokens)) for num_tokens in (7, 3)]
    for place, event in engine.run_batch(runs, 2, memory=memory, should_stop=bool):
        traces[place].events.append(event)
    assert sorted(map(len, memory.answers)) == [3, 5, 7, 12]
    assert traces[0].token_ids in memory.answers and traces[1].token_ids in memory.answers


def started(trace: Trace) -> RunStarted:
    event = trace.first(RunStarted)
    assert event is not None
    return event


def test_a_crash_ends_each_of_the_prompts_side_by_side(load: Workers) -> None:
    engine = loaded(load)
    lasts: dict[int, Any] = {}
    for place, event in engine.run_batch([(MESSAGES, config(9999))] * 3, 3, should_stop=bool):
        lasts[place] = event
        if len(lasts) == 3 and event.step == 2:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
    assert [type(lasts[place]) for place in range(3)] == [RunFailed] * 3
    assert not engine.is_usable


def test_it_stops_within_a_step_and_answers_questions_meanwhile(load: Workers) -> None:
    engine, trace, stopped_at = loaded(load), Trace(), 0

    def should_stop() -> bool:
        nonlocal stopped_at
        if stopped_at == 0 and trace.stats.num_steps >= 3:
            assert engine.unavailable_reason("layer-skip") is not None
            stopped_at = trace.stats.num_steps
        return stopped_at > 0

    for event in engine.run(MESSAGES, config(100_000), should_stop=should_stop):
        trace.events.append(event)
    assert isinstance(trace.events[-1], RunFinished) and trace.events[-1].reason == "stopped"
    # Those that were on their way, the one in progress, and the flag's own way there.
    assert trace.stats.num_steps <= stopped_at + 10
    again = list(engine.run(MESSAGES, config(5), should_stop=bool))
    assert Trace(again).stats.num_tokens == 5


def test_what_is_refused_there_is_raised_here(load: Workers) -> None:
    with pytest.raises(ModelUnavailableError, match="no model named missing"):
        loaded(load, "missing")
    with pytest.raises(ModelUnavailableError, match="was killed by signal 9"):
        loaded(load, "crash")


@pytest.mark.parametrize(
    ("target", "error", "values"),
    [
        ("broken", TraceFormatError("it is broken.", 3), {"line_number": 3}),
        ("foreign", ForeignError("the lens", 7), {"place": 7}),
        ("nameless", SpecDecodesError("It has no name; give it one."), {}),
        ("full", OSError(28, "No space left on device"), {}),
    ],
)
def test_errors_of_every_make_arrive_as_they_were_raised(
    target: str, error: Exception, values: dict[str, Any], load: Workers
) -> None:
    """They were looked up by name among ours, and made anew of one argument."""
    with pytest.raises(Exception) as caught:
        loaded(load, target)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == values


def test_what_breaks_between_events_is_raised_here_and_the_engine_goes_on(load: Workers) -> None:
    engine = loaded(load, "breaking")
    events = []
    with pytest.raises(ValueError, match="the fifth event"):
        for event in engine.run(MESSAGES, config(30), should_stop=bool):
            events.append(event)
    assert len(events) == 5 and engine.is_usable
    assert engine.unavailable_reason("ngram") == "KeyError: 'ngram'"
    assert engine.unavailable_reason("hybrid") == "KeyError: 'hybrid'"
    with pytest.raises(ValueError, match="the fifth event"):
        list(engine.run(MESSAGES, config(30), should_stop=bool))


class Stopped:
    """A worker whose machine is switched off at some time: its pipes stay open, and say nothing."""

    def __init__(self, process: Any):
        self._process = process
        self.is_off = False

    @property
    def is_alive(self) -> bool:
        return not self.is_off

    def switch_off(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)
        self.is_off = True

    def obituary(self) -> str:
        return "was switched off"

    def end(self) -> None:
        self._process.end()


def test_a_machine_that_goes_without_a_word_is_missed() -> None:
    machines: list[Stopped] = []

    def start(load: WorkerLoad, number: int, progress: Progress) -> StartedWorker:
        worker = OwnMachine(1)(load, number, progress)
        machines.append(Stopped(worker.handle))
        return worker._replace(handle=machines[-1])

    engine = loaded(Workers(load_scripted_worker, 1, start))
    events = []
    for event in engine.run(MESSAGES, config(9999), should_stop=bool):
        events.append(event)
        if event.step == 3 and not machines[0].is_off:
            machines[0].switch_off()
    assert isinstance(events[-1], RunFailed) and "was switched off" in events[-1].message
    assert not engine.is_usable


def test_loading_is_cancelled_and_its_process_ends(load: Workers) -> None:
    pool = ModelPool(load)
    before = children()
    thread = pool.preload(EngineKey("endless", None))
    until(lambda: "reading weights" in pool.status.text)
    pool.cancel()
    thread.join(PATIENCE_S)
    assert "cancelled" in pool.status.text
    until(lambda: children() == before)


def children() -> set[int]:
    return {
        child.pid for child in psutil.Process().children(recursive=True)
        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        and "resource_tracker" not in " ".join(child.cmdline())
    }  # fmt: skip


def test_an_engine_that_is_let_go_takes_its_process_with_it(load: Workers) -> None:
    before = children()
    engine = loaded(load)
    assert len(children() - before) == 1
    del engine
    assert children() == before


@pytest.fixture
def handlers(load: Workers, tmp_path: Path) -> Handlers:
    pool = ModelPool(load, 2)
    for thread in pool.preload_all(EngineKey("scripted", None)):
        thread.join(PATIENCE_S)
    return Handlers(pool, RunStore(), Archive(tmp_path))


def begin(handlers: Handlers, num_tokens: int, visitor: str) -> ChatSession:
    """A session whose answer has begun."""
    session = ChatSession()
    session.visitor = visitor
    messages = handlers.ask(session, "Hi", "", form_values(max_new_tokens=num_tokens))
    while session.last is None or session.last.num_tokens == 0:
        next(messages)
    session.messages_left = messages  # type: ignore[attr-defined]
    return session


def test_a_killed_worker_ends_its_run_alone_and_comes_again(
    handlers: Handlers, tmp_path: Path
) -> None:
    before = children()
    # Either may be the one that is killed.
    victim, bystander = begin(handlers, 600, "a" * 32), begin(handlers, 600, "b" * 32)
    dead = next(
        pid for pid in sorted(before)
        if pid == handlers.pool._slots[0]._engine._handle.pid  # type: ignore[union-attr]
    )  # fmt: skip
    os.kill(dead, signal.SIGKILL)
    list(victim.messages_left), list(bystander.messages_left)  # type: ignore[attr-defined]
    runs = [session.last for session in (victim, bystander)]
    failed = next(run for run in runs if run.failure)
    whole = next(run for run in runs if not run.failure)
    assert "was killed by signal 9; it is started again" in failed.failure
    trace = failed.snapshot()
    assert isinstance(trace.events[-1], RunFailed) and trace.stats.num_tokens > 0
    assert trace.events[-1].totals["num_tokens"] == trace.stats.num_tokens == len(trace.token_ids)
    save_trace(trace, tmp_path / "run.jsonl")
    assert load_trace(tmp_path / "run.jsonl").token_ids == trace.token_ids
    assert whole.num_tokens == 600
    until(lambda: len(children()) == len(before) and handlers.pool.fair_queue.length == 0)
    assert dead not in children()
    session = begin(handlers, 8, "a" * 32)
    list(session.messages_left)  # type: ignore[attr-defined]
    assert session.last.failure is None and session.last.num_tokens == 8


def test_a_worker_killed_while_idle_is_not_noticed(handlers: Handlers) -> None:
    for pid in children():
        if "spawn_main" in " ".join(psutil.Process(pid).cmdline()):
            os.kill(pid, signal.SIGKILL)
    until(lambda: handlers.pool.target is None)
    session = begin(handlers, 8, "a" * 32)
    list(session.messages_left)  # type: ignore[attr-defined]
    assert session.last.failure is None and session.last.num_tokens == 8


def test_a_worker_that_lost_its_gpu_is_started_again(load: Workers) -> None:
    pool, key = ModelPool(load), EngineKey("losing", None)
    for _ in range(2):
        ticket = pool.fair_queue.join()
        assert ticket.wait(PATIENCE_S)
        with pool.slot(key) as slot:
            events = list(slot.engine(key).run(MESSAGES, config(5), should_stop=bool))
            assert isinstance(events[-1], RunFinished)
            until(lambda: pool.target is None)
        ticket.leave()


def test_two_visitors_are_answered_at_once_by_a_real_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))
    target = save_tiny_model(tmp_path / "target")
    pool = ModelPool(Workers(load_in_worker, 2), 2)
    key = EngineKey(target, "float32", compile=False)
    for thread in pool.preload_all(key):
        thread.join(PATIENCE_S * 3)
    assert pool.status.phase == "ready"
    with pool.slot(key) as one, pool.slot(key) as two:
        settings = config(12, mode="naive", target=target, dtype="float32", compile=False)
        runs = [slot.engine(key).run(MESSAGES, settings, should_stop=bool) for slot in (one, two)]
        traces = [Trace(), Trace()]
        for events in zip(*runs, strict=True):
            for trace, event in zip(traces, events, strict=True):
                trace.events.append(event)
    assert traces[0].token_ids == traces[1].token_ids and len(traces[0].token_ids) == 12
    with pytest.raises(InvalidSettingError, match="loaded in float32"), pool.slot(key) as slot:
        other = config(12, mode="naive", target=target, dtype="bfloat16", compile=False)
        slot.engine(key).run(MESSAGES, other, should_stop=bool)
