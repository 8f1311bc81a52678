"""Runs an answer on a thread of its own, so that the engine never waits for a browser."""

import logging
import threading
from typing import NamedTuple

from app.engine_seat import EngineKey
from app.logs import fields
from app.model_pool import ModelPool
from app.run_finder import ENDINGS
from app.run_keeper import RunKeeper
from app.run_record import Phase, RunRecord
from app.session import Message
from app.turnstile import Ticket
from core.config import RunConfig
from core.errors import SpecDecodesError
from core.events import Event, RunFailed, RunFinished
from core.failures import describe_failure

_POLL_S = 0.1

_log = logging.getLogger(__name__)


class RunRequest(NamedTuple):
    """All that a run needs: which engine, what to ask it, and how."""

    key: EngineKey
    messages: list[Message]
    config: RunConfig


def start_run(
    pool: ModelPool,
    record: RunRecord,
    request: RunRequest,
    keeper: RunKeeper,
) -> threading.Thread:
    """Queues the run and returns at once; the record tells the rest."""
    ticket = pool.turnstile.join()
    thread = threading.Thread(
        target=_run_in_turn, args=(pool, record, request, ticket, keeper), name="run", daemon=True
    )
    thread.start()
    return thread


def _run_in_turn(
    pool: ModelPool,
    record: RunRecord,
    request: RunRequest,
    ticket: Ticket,
    keeper: RunKeeper,
) -> None:
    phase: Phase = "failed"
    text = "Stopped before it began"
    try:
        if _reach_turn(pool, record, ticket):
            text = _run(pool, record, request, keeper)
        phase = "ended"
    except SpecDecodesError as error:
        text = str(error)
    except Exception as error:
        _log.exception("a run broke outside the engine", extra=fields(run_id=record.run_id))
        text = f"The run broke: {describe_failure(error)}"
    finally:
        ticket.leave()
        if record.trace.events:
            text = _kept(keeper, record, text)
        record.set_status(phase, text)


def _kept(keeper: RunKeeper, record: RunRecord, text: str) -> str:
    """Keeps the record; a disk that refuses is told beside how the run ended."""
    try:
        keeper.end(record)
    except OSError as error:
        return f"{text}; it could not be kept: {error.strerror or error}"
    except Exception as error:  # the run has ended all the same, and its visitor waits for that
        _log.exception("a run could not be kept", extra=fields(run_id=record.run_id))
        return f"{text}; it could not be kept: {describe_failure(error)}"
    return text


def _reach_turn(pool: ModelPool, record: RunRecord, ticket: Ticket) -> bool:
    """Waits for the engine and shows the place in the queue; False where it was stopped."""
    while not ticket.wait(_POLL_S):
        if record.stop.is_set():
            return False
        loading = pool.status
        if loading.phase == "loading" and ticket.num_ahead() == 1:
            record.set_status("loading", loading.text, loading.done, loading.total)
        else:
            record.set_status("queued", f"{ticket.num_ahead()} ahead of you")
    return not record.stop.is_set()


def _run(pool: ModelPool, record: RunRecord, request: RunRequest, keeper: RunKeeper) -> str:
    """Runs it and returns how it ended, in words."""

    def show_loading(stage: str, done: int, total: int) -> None:
        record.set_status("loading", f"{request.key.target}: {stage}", done, total)

    last: Event | None = None
    with pool.seat(request.key) as seat:
        engine = seat.engine(request.key, show_loading)
        prompt = engine.chat_prompt(request.messages)
        try:
            events = engine.run(prompt, request.config, should_stop=record.stop.is_set)
        finally:
            seat.show_ready()
        record.set_status("running", "Reading the prompt")
        for event in events:
            record.add(event)
            keeper.add(event)
            last = event
    if isinstance(last, RunFailed):
        raise SpecDecodesError(last.message)
    return ENDINGS[last.reason] if isinstance(last, RunFinished) else "Stopped"
