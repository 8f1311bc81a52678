"""Runs answers on a thread of their own, so that the engine never waits for a browser."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from app.engines.chat import Chat
from app.engines.engine_slot import EngineKey, EngineLike, prompt_of
from app.engines.fair_queue import Ticket
from app.engines.model_pool import ModelPool
from app.messages import RunPhase
from app.runs.joined_runs import JoinedRuns
from app.runs.logs import fields
from app.runs.run import Outcome, Run
from app.runs.watchers import GIVEN_UP
from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from core.errors import SpecDecodesError
from core.trace.events import Event
from core.trace.failures import describe_failure

_POLL_S = 0.1

_log = logging.getLogger(__name__)


class RunRequest(NamedTuple):
    """All that runs need: which engine, what to ask it, and how."""

    key: EngineKey
    chats: Sequence[Chat]
    """One, or several that are answered side by side."""
    configs: Sequence[RunConfig]
    """One for each chat."""
    size: int = 1
    """How many side by side."""
    owner: str | None = None
    """Who has the place in the queue."""
    memory: SuffixMemory | None = None
    """The earlier answers of whoever asks, where the settings ask for them."""
    is_profile: bool = False
    """Whether a profile is wanted in place of a run."""
    joins: bool = False
    """Whether those of other requests may go on beside them, `size` in all."""


def start_runs(pool: ModelPool, runs: Sequence[Run], request: RunRequest) -> threading.Thread:
    """Queues the runs, one for each chat, and returns at once; the records tell the rest."""
    ticket = pool.fair_queue.join(request.owner)
    # Of this list those take who answer others beside their own.
    runs = list(runs)
    if request.joins:
        ticket.offer = JoinedRuns(runs, request.chats, request.configs, request.key, request.size)
    thread = threading.Thread(
        target=_run_in_turn, args=(pool, runs, request, ticket), name="run", daemon=True
    )
    thread.start()
    return thread


def _run_in_turn(pool: ModelPool, runs: list[Run], request: RunRequest, ticket: Ticket) -> None:
    outcome = Outcome("ended", "Stopped before it began")
    try:
        is_reached = _reach_turn(pool, runs, ticket)
        if ticket.is_taken:
            runs = []  # another thread's now
        elif is_reached:
            _run(pool, runs, request, ticket.offer)
            outcome = Outcome("ended", "Stopped")
        elif runs[0].is_given_up:
            outcome = Outcome("ended", GIVEN_UP)
    except SpecDecodesError as error:
        outcome = Outcome("failed", str(error), type(error).__name__)
    except Exception as error:
        run_id = runs[0].run_id
        _log.exception("a run broke outside the engine", extra=fields(run_id=run_id))
        words = f"The run broke: {describe_failure(error)}"
        outcome = Outcome("failed", words, type(error).__name__)
    finally:
        ticket.leave()
        for run in runs:
            run.close(outcome)


def _are_stopped(pool: ModelPool, runs: Sequence[Run]) -> bool:
    """Whether they are to end: all were stopped, or nobody watches while others wait."""
    if not all(run.stop.is_set() for run in runs):
        is_left = all(run.watchers.have_left for run in runs)
        if not (is_left and pool.fair_queue.has_waiting):
            return False
        for run in runs:
            run.is_given_up = True
            run.stop.set()
    return True


def _set_status(
    runs: Sequence[Run], phase: RunPhase, text: str, done: int = 0, total: int = 0
) -> None:
    for run in runs:
        run.set_status(phase, text, done, total)


def _reach_turn(pool: ModelPool, runs: Sequence[Run], ticket: Ticket) -> bool:
    """Waits for the engine and shows the place in the queue; False where it was stopped."""
    while not ticket.wait(_POLL_S):
        if all(run.stop.is_set() for run in runs):
            return False
        loading = pool.status
        if loading.phase == "loading" and ticket.num_ahead() == 1:
            _set_status(runs, "loading", loading.text, loading.done, loading.total)
        else:
            _set_status(runs, "queued", f"{ticket.num_ahead()} ahead of you")
    return not _are_stopped(pool, runs)


def _run(
    pool: ModelPool, runs: Sequence[Run], request: RunRequest, joined: JoinedRuns | None
) -> None:
    """Runs them all; those that end while others go on are kept at once."""

    def show_loading(stage: str, done: int, total: int) -> None:
        _set_status(runs, "loading", f"{request.key.target}: {stage}", done, total)

    with pool.slot(request.key) as slot:
        if joined is not None:
            joined.answer(slot, pool.fair_queue)
            return
        engine = slot.engine(request.key, show_loading)
        try:
            events = _events(engine, request, lambda: _are_stopped(pool, runs))
        finally:
            slot.show_ready()
        _set_status(runs, "running", "Reading the prompt")
        for index, event in events:
            run = runs[index]
            run.add(event)
            if run.outcome is not None and any(other.outcome is None for other in runs):
                run.close(run.outcome)


def _events(
    engine: EngineLike,
    request: RunRequest,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[int, Event]]:
    """The events of all runs with their places; raises SpecDecodesError before the first one."""
    prompts = [prompt_of(engine, chat) for chat in request.chats]
    if len(prompts) > 1:
        pairs = list(zip(prompts, request.configs, strict=True))
        return engine.run_batch(pairs, request.size, memory=request.memory, should_stop=should_stop)
    if request.is_profile:
        events = engine.profile(prompts[0], request.configs[0], should_stop=should_stop)
    else:
        events = engine.run(
            prompts[0], request.configs[0], memory=request.memory, should_stop=should_stop
        )
    return ((0, event) for event in events)
