"""An engine in a process of its own, as the pool sees it. A crash there is an event here."""

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from app.engines.engine_slot import EngineKey, Progress
from app.engines.places import Handle, OwnMachine, StartedWorker, StartWorker
from app.engines.worker import (
    Answer,
    Done,
    Join,
    Leave,
    Load,
    Progressed,
    Reason,
    Refused,
    Run,
    RunBatch,
    RunJoining,
    Stop,
    WorkerLoad,
)
from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.decoding.remembering import all_remembered, remembered
from core.drafters.suffix_memory import SuffixMemory
from core.errors import ModelUnavailableError, SpecDecodesError
from core.trace.events import Event, RunFailed, RunFinished
from core.trace.fork import Fork
from core.trace.stats import RunStats

# How soon a stop is passed on while a step takes its time.
_POLL_S = 0.02
# How soon a worker is missed whose machine went without a word.
_CHECK_S = 1.0
# Questions are answered beside a run; a machine that is too busy for that long answers nothing.
_PATIENCE_S = 5.0


class _Lost(Exception):
    """The worker's end of a pipe is closed."""


@dataclass(slots=True)
class _Joined:
    """A run that goes on in a worker beside others."""

    run: JoiningRun
    stats: RunStats = field(default_factory=RunStats)
    last: Event | None = None
    is_told: bool = False
    """Whether the worker knows that it is to end."""


class Workers:
    """Starts engines in processes of their own; implements the pool's `LoadEngine`."""

    def __init__(self, load: WorkerLoad, count: int, start: StartWorker | None = None):
        """`load` makes an engine in its process, of which there are `count`; without `start` they are
        on this machine, which they share."""
        self._load = load
        self._count = count
        self._start = start or OwnMachine(count)
        self._numbers: dict[int, weakref.ref[RemoteEngine]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: EngineKey, progress: Progress) -> "RemoteEngine":
        with self._lock:
            number = self._free_number()
            engine = RemoteEngine(progress)
            self._numbers[number] = weakref.ref(engine)
        engine.start(lambda: self._start(self._load, number, progress))
        engine.load(key)
        return engine

    def _free_number(self) -> int:
        """The lowest number that no living engine has: on several GPUs it says which is free."""
        for number in range(self._count):
            taken = self._numbers.get(number)
            engine = None if taken is None else taken()
            if engine is None or not engine.is_usable:
                return number
        return 0


class RemoteEngine:
    """Implements `app.engines.engine_slot.EngineLike`. Its process ends when this object is let go."""

    def __init__(self, progress: Progress):
        """Nothing runs until `start`."""
        self._progress = progress
        self._numbers = itertools.count()
        self._asking = threading.Lock()
        self._is_lost = False
        self._worker: StartedWorker | None = None
        self._checked_s = 0.0

    def start(self, start: Callable[[], StartedWorker]) -> None:
        """Starts its worker; raises what that raises."""
        try:
            self._worker = start()
        except BaseException:
            self._is_lost = True
            raise
        self._end = weakref.finalize(self, _end, self._worker)

    @property
    def is_usable(self) -> bool:
        return not self._is_lost and (self._worker is None or self._handle.is_alive)

    @property
    def _orders(self) -> Connection:
        assert self._worker is not None, "it has not been started"
        return self._worker.orders

    @property
    def _questions(self) -> Connection:
        assert self._worker is not None, "it has not been started"
        return self._worker.questions

    @property
    def _handle(self) -> Handle:
        assert self._worker is not None, "it has not been started"
        return self._worker.handle

    def load(self, key: EngineKey) -> None:
        """Waits until the model is loaded; raises SpecDecodesError where it cannot be."""
        try:
            self._carry_out(Load(key))
        except _Lost as error:
            raise ModelUnavailableError(f"{key.target}: {self._obituary()}") from error
        except Exception:  # refused or cancelled; its memory is needed at once
            self._end()
            raise

    def chat_prompt(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        """The messages; their tokens are the worker's affair."""
        return messages

    def raw_prompt(self, text: str) -> str:
        """The text, likewise."""
        return text

    def token_prompt(self, token_ids: list[int]) -> list[int]:
        """The token ids, likewise."""
        return token_ids

    def fork_prompt(self, fork: Fork) -> Fork:
        """The branch, likewise."""
        return fork

    def unavailable_reason(self, mode: str, draft: str | None = None) -> str | None:
        """See `Engine.unavailable_reason`; None as well where the worker does not say."""
        with self._asking:
            try:
                number = next(self._numbers)
                self._questions.send(Reason(number, mode, draft))
                while self._questions.poll(_PATIENCE_S):
                    answer: Answer = self._questions.recv()
                    if answer.number == number:  # not a late one
                        return answer.text
            except (EOFError, OSError):
                self._is_lost = True
        return None

    def run(
        self,
        prompt: Any,
        config: RunConfig,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool],
    ) -> Iterator[Event]:
        """See `Engine.run`. A worker that dies in the middle ends the run with RunFailed."""
        number = next(self._numbers)
        self._order(Run(number, prompt, config, memory))
        events = (event for _, event in self._events(number, should_stop, 1))
        return events if memory is None else remembered(events, memory)

    def profile(
        self, prompt: Any, config: RunConfig, *, should_stop: Callable[[], bool]
    ) -> Iterator[Event]:
        """See `Engine.profile`, and `run`."""
        number = next(self._numbers)
        self._order(Run(number, prompt, config, None, is_profile=True))
        return (event for _, event in self._events(number, should_stop, 1))

    def run_batch(
        self,
        runs: Sequence[tuple[Any, RunConfig]],
        size: int,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool],
    ) -> Iterator[tuple[int, Event]]:
        """See `Engine.run_batch`, and `run`."""
        number = next(self._numbers)
        self._order(RunBatch(number, list(runs), size, memory))
        events = self._events(number, should_stop, len(runs))
        return events if memory is None else all_remembered(events, memory, len(runs))

    def run_joining(
        self, next_run: Callable[[], JoiningRun | None], size: int
    ) -> Iterator[tuple[int, Event]]:
        """See `Engine.run_joining`, and `run`."""
        number = next(self._numbers)
        self._order(RunJoining(number, size))
        return self._joined(number, next_run, size)

    def _joined(
        self, number: int, next_run: Callable[[], JoiningRun | None], size: int
    ) -> Iterator[tuple[int, Event]]:
        running: dict[int, _Joined] = {}
        places = itertools.count()
        try:
            while True:
                while len(running) < size and (run := next_run()) is not None:
                    place = next(places)
                    running[place] = _Joined(run)
                    chat: Any = run.make_prompt()  # as this engine makes them
                    self._tell(Join(number, place, chat, run.config))
                if not running:
                    break
                for place, joined in running.items():
                    if not joined.is_told and joined.run.should_stop():
                        self._tell(Leave(number, place))
                        joined.is_told = True
                if not self._is_there(_POLL_S):
                    continue
                message = self._received()
                if isinstance(message, Progressed):
                    with suppress(SpecDecodesError):  # cancelled, and others go on beside it
                        self._progress(*message)
                    continue
                place, event = message
                running[place].last = event
                running[place].stats.add(event)
                if isinstance(event, (RunFinished, RunFailed)):
                    del running[place]
                yield place, event
            self._tell(Stop(number))
            done = self._received()
            assert isinstance(done, Done)
        except _Lost:
            self._is_lost = True
            for place, joined in running.items():
                yield place, _failed(joined.last, joined.stats, self._obituary())
        except GeneratorExit:  # see `_events`
            self._is_lost = True
            raise

    def _order(self, order: Run | RunBatch | RunJoining) -> None:
        """Has the worker prepare a run; raises what it refuses with."""
        try:
            self._carry_out(order)
        except _Lost as error:
            self._is_lost = True
            raise ModelUnavailableError(self._obituary()) from error

    def _carry_out(self, order: Load | Run | RunBatch | RunJoining) -> None:
        """Waits until it is; raises what the worker raises, and _Lost."""
        try:
            self._orders.send(order)
        except OSError as error:
            raise _Lost from error
        while not isinstance(message := self._received(), Done):
            assert isinstance(message, Progressed)
            try:
                self._progress(*message)
            except SpecDecodesError:  # cancelled, and the worker goes on with what nobody wants
                self._is_lost = True
                raise

    def _received(self) -> Any:
        """The next message; raises what the worker raises, and _Lost."""
        while not self._is_there(_POLL_S):
            pass
        try:
            message = self._orders.recv()
        except (EOFError, OSError) as error:
            raise _Lost from error
        if isinstance(message, Refused):
            raise message.error
        return message

    def _events(
        self, number: int, should_stop: Callable[[], bool], count: int
    ) -> Iterator[tuple[int, Event]]:
        """The events of `count` runs, each with its run's place."""
        all_stats = [RunStats() for _ in range(count)]
        lasts: list[Event | None] = [None] * count
        is_told = False
        try:
            while True:
                if not is_told and should_stop():
                    self._tell(Stop(number))
                    is_told = True
                if not self._is_there(_POLL_S):
                    continue
                message = self._received()
                if isinstance(message, Done):
                    break
                place, event = (0, message) if isinstance(message, Event) else message
                lasts[place] = event
                all_stats[place].add(event)
                yield place, event
        except _Lost:
            self._is_lost = True
            for place, last in enumerate(lasts):
                if not isinstance(last, (RunFinished, RunFailed)):
                    yield place, _failed(last, all_stats[place], self._obituary())
        except GeneratorExit:  # nobody listens: the pipe must be empty before the next run
            self._is_lost = True
            raise

    def _is_there(self, timeout_s: float) -> bool:
        """Whether a message comes so soon; raises _Lost."""
        try:
            if self._orders.poll(timeout_s):
                return True
            # A process that dies closes its pipe. A machine that is switched off closes nothing.
            now_s = time.monotonic()
            if now_s - self._checked_s > _CHECK_S:
                self._checked_s = now_s
                if not self._handle.is_alive and not self._orders.poll(0):
                    raise _Lost
            return False
        except OSError as error:
            raise _Lost from error

    def _tell(self, message: Stop | Join | Leave) -> None:
        try:
            with self._asking:
                self._questions.send(message)
        except OSError as error:
            raise _Lost from error

    def _obituary(self) -> str:
        return f"The engine's process {self._handle.obituary()}; it is started again, so ask once more."


def _failed(last: Event | None, stats: RunStats, message: str) -> RunFailed:
    at_s = last.t_end_s if last is not None else 0.0
    return RunFailed(
        step=stats.num_steps,
        t_start_s=at_s,
        t_end_s=at_s,
        error="WorkerLost",
        message=message,
        totals=stats.to_dict(),
    )


def _end(worker: StartedWorker) -> None:
    worker.orders.close()
    worker.questions.close()
    worker.handle.end()
