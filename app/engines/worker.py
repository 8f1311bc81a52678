"""An engine's own process: loads a model, runs prompts, and sends back what happens.

Two pipes lead here. On one come orders, one at a time, and go their progress and events; on the
other come questions and stops, which are answered beside a run. When either end of a pipe closes
the process ends: whoever asked for the work is gone.
"""

import logging
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from app.engines.chat import Chat
from app.engines.engine_slot import EngineKey, EngineLike, Progress, prompt_of
from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.drafters.suffix_memory import SuffixMemory
from core.errors import SpecDecodesError
from core.trace.events import Event
from core.trace.failures import describe_failure

_log = logging.getLogger(__name__)


class Load(NamedTuple):
    """The first order: which engine this process is for."""

    key: EngineKey


class Run(NamedTuple):
    """An order to answer a chat; its events come one by one."""

    number: int
    chat: Chat
    config: RunConfig
    memory: SuffixMemory | None
    """A copy: what comes into it is told by the events."""
    is_profile: bool = False
    """Whether a profile is wanted in place of the run."""


class RunBatch(NamedTuple):
    """An order to answer chats side by side; events come with their chat's place."""

    number: int
    runs: list[tuple[Chat, RunConfig]]
    size: int
    memory: SuffixMemory | None
    """See `Run`."""


class RunJoining(NamedTuple):
    """An order to answer chats that come while others go on, until it is stopped; events come with
    their chat's place."""

    number: int
    size: int


class Join(NamedTuple):
    """Another chat for `RunJoining`."""

    number: int
    place: int
    chat: Chat
    config: RunConfig


class Leave(NamedTuple):
    """Ends one run of `RunJoining` within one step."""

    number: int
    place: int


class Stop(NamedTuple):
    """Ends a run within one step; an order that has ended already is not touched. Where runs join, no
    more come: those that there are have ended."""

    number: int


class Reason(NamedTuple):
    """A question: why a mode cannot run with this target. The answer has its number."""

    number: int
    mode: str
    draft: str | None


class Answer(NamedTuple):
    """To a question."""

    number: int
    text: str | None


class Progressed(NamedTuple):
    """What is being loaded or prepared."""

    stage: str
    done: int
    total: int


class Refused(NamedTuple):
    """The end of an order that could not be carried out."""

    pickled: bytes
    """What was raised."""
    message: str
    """Its words, for a process that cannot read it."""

    @property
    def error(self) -> Exception:
        """What was raised there, or a SpecDecodesError with its words."""
        try:
            error = pickle.loads(self.pickled)  # from a process of this program
        except Exception:  # as many as there are constructors
            error = None
        return error if isinstance(error, Exception) else SpecDecodesError(self.message)


class Done(NamedTuple):
    """A load has ended, a run has been prepared, or its events are all there."""


class WorkerLoad(Protocol):
    """Makes the engine; a module-level function, which a new process finds by its name."""

    def __call__(
        self, key: EngineKey, progress: Progress, number: int, count: int
    ) -> EngineLike: ...


class _Mailbox:
    """Answers questions and hears of stops, on a thread of its own."""

    def __init__(self, questions: Connection, engine: EngineLike):
        self._questions = questions
        self._engine = engine
        self._stopped = -1
        self._changed = threading.Condition()
        self._joins: deque[Join] = deque()
        self._left: set[Leave] = set()
        threading.Thread(target=self._serve, name="questions", daemon=True).start()

    def is_stopped(self, number: int) -> bool:
        return self._stopped >= number

    def has_left(self, number: int, place: int) -> bool:
        return Leave(number, place) in self._left

    def next_join(self, number: int) -> Join | None:
        """The next chat of an order, if one is there."""
        with self._changed:
            while self._joins and self._joins[0].number != number:  # of one that broke
                self._joins.popleft()
            return self._joins.popleft() if self._joins else None

    def waits_for_join(self, number: int) -> bool:
        """Whether there may be a chat of an order, waiting for one; False when no more come."""
        with self._changed:
            self._changed.wait_for(lambda: self._joins or self.is_stopped(number))
            return bool(self._joins)

    def _serve(self) -> None:
        try:
            while True:
                question = self._questions.recv()
                if isinstance(question, (Stop, Join, Leave)):
                    self._note(question)
                else:
                    self._questions.send(Answer(question.number, self._reason(question)))
        except (EOFError, OSError):
            os._exit(0)  # the page's process is gone, whatever the engine does now

    def _note(self, told: Stop | Join | Leave) -> None:
        with self._changed:
            match told:
                case Stop():
                    self._stopped = told.number
                    self._left.clear()
                case Join():
                    self._joins.append(told)
                case Leave():
                    self._left.add(told)
            self._changed.notify_all()

    def _reason(self, question: Reason) -> str | None:
        try:
            return self._engine.unavailable_reason(question.mode, question.draft)
        except Exception as error:  # the next question is to be answered as well
            return _refused(error).message


def work(
    load: WorkerLoad, number: int, count: int, orders: Connection, questions: Connection
) -> None:
    """The whole life of worker `number` of `count` on the page's machine; a count of 0 says that it is
    on another machine, whose cores are all for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the page's process
    try:
        order: Load = orders.recv()
        engine = _loaded(load, order.key, number, count, orders)
        if engine is None:
            return
        mailbox = _Mailbox(questions, engine)
        while engine.is_usable:
            _answer(engine, orders.recv(), orders, mailbox)
    except (EOFError, OSError):
        return


def _refused(error: Exception) -> Refused:
    if isinstance(error, SpecDecodesError):
        message = str(error)
    else:
        _log.error("an order broke", exc_info=error)
        message = f"{type(error).__name__}: {describe_failure(error)}"
    try:
        return Refused(pickle.dumps(error), message)
    except Exception:  # it holds what stays in this process
        return Refused(b"", message)


def _progress_to(orders: Connection) -> Progress:
    return lambda stage, done, total: orders.send(Progressed(stage, done, total))


def _loaded(
    load: WorkerLoad, key: EngineKey, number: int, count: int, orders: Connection
) -> EngineLike | None:
    try:
        engine = load(key, _progress_to(orders), number, count)
    except Exception as error:
        orders.send(_refused(error))
        return None
    orders.send(Done())
    return engine


def _answer(
    engine: EngineLike, order: Run | RunBatch | RunJoining, orders: Connection, mailbox: _Mailbox
) -> None:
    def should_stop() -> bool:
        return mailbox.is_stopped(order.number)

    events: Iterator[Any]
    try:
        if isinstance(order, RunJoining):
            events = _joined(engine, order, mailbox)
        elif isinstance(order, RunBatch):
            pairs = [(prompt_of(engine, chat), config) for chat, config in order.runs]
            events = engine.run_batch(
                pairs, order.size, memory=order.memory, should_stop=should_stop
            )
        else:
            prompt = prompt_of(engine, order.chat)
            if order.is_profile:
                events = engine.profile(prompt, order.config, should_stop=should_stop)
            else:
                events = engine.run(
                    prompt, order.config, memory=order.memory, should_stop=should_stop
                )
        orders.send(Done())
        for event in events:
            orders.send(event)
    except Exception as error:  # where it is the pipe that broke, this breaks again
        orders.send(_refused(error))
        return
    orders.send(Done())


def _joined(
    engine: EngineLike, order: RunJoining, mailbox: _Mailbox
) -> Iterator[tuple[int, Event]]:
    """The events of all that joins, until no more come."""
    while mailbox.waits_for_join(order.number):
        places: list[int] = []

        def next_run(places: list[int] = places) -> JoiningRun | None:
            join = mailbox.next_join(order.number)
            if join is None:
                return None
            places.append(join.place)
            return JoiningRun(
                partial(prompt_of, engine, join.chat),
                join.config,
                partial(mailbox.has_left, order.number, join.place),
            )

        for index, event in engine.run_joining(next_run, order.size):
            yield places[index], event


def load_in_worker(key: EngineKey, progress: Progress, number: int, count: int) -> EngineLike:
    """A real engine; on a GPU of its own where there are several."""
    progress("starting the engine", 0, 0)
    import torch

    from app.engines.engines import load_engine

    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(number % torch.cuda.device_count())
    return load_engine(key, progress, count)
