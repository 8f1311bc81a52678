"""Runs an answer on a thread of its own, so that the engine never waits for a browser."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from app.model_pool import EngineKey, ModelPool
from app.run_finder import ENDINGS
from app.run_record import Phase, RunRecord
from app.session import Message
from app.turnstile import Ticket
from core.config import RunConfig
from core.errors import SpecDecodesError
from core.events import Event, RunFailed, RunFinished

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
    keep: Callable[[RunRecord], None] | None = None,
) -> threading.Thread:
    """Queues the run and returns at once; the record tells the rest.

    `keep` gets the record when all its events are there, right before it counts as ended.
    """
    ticket = pool.turnstile.join()
    thread = threading.Thread(
        target=_run_in_turn, args=(pool, record, request, ticket, keep), name="run", daemon=True
    )
    thread.start()
    return thread


def _run_in_turn(
    pool: ModelPool,
    record: RunRecord,
    request: RunRequest,
    ticket: Ticket,
    keep: Callable[[RunRecord], None] | None,
) -> None:
    phase: Phase = "failed"
    text = "Stopped before it began"
    try:
        if _reach_turn(pool, record, ticket):
            text = _run(pool, record, request)
        phase = "ended"
    except SpecDecodesError as error:
        text = str(error)
    except Exception as error:
        _log.exception("a run broke outside the engine")
        text = f"The run broke: {error or type(error).__name__}"
    finally:
        ticket.leave()
        if keep is not None and record.trace.events:
            text = _kept(keep, record, text)
        record.set_status(phase, text)


def _kept(keep: Callable[[RunRecord], None], record: RunRecord, text: str) -> str:
    """Keeps the record; a disk that refuses is told beside how the run ended."""
    try:
        keep(record)
    except OSError as error:
        return f"{text}; it could not be kept: {error.strerror or error}"
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


def _run(pool: ModelPool, record: RunRecord, request: RunRequest) -> str:
    """Runs it and returns how it ended, in words."""

    def show_loading(stage: str, done: int, total: int) -> None:
        record.set_status("loading", f"{request.key.target}: {stage}", done, total)

    engine = pool.engine(request.key, show_loading)
    prompt = engine.chat_prompt(request.messages)
    try:
        events = engine.run(prompt, request.config, should_stop=record.stop.is_set)
    finally:
        pool.show_ready()
    record.set_status("running", "Reading the prompt")
    last: Event | None = None
    for event in events:
        record.add(event)
        last = event
    if isinstance(last, RunFailed):
        raise SpecDecodesError(last.message)
    return ENDINGS[last.reason] if isinstance(last, RunFinished) else "Stopped"
