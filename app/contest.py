"""A comparison in the making: plain decoding and up to three other settings, in turn and in rounds."""

import dataclasses
import secrets
import time
from collections.abc import Iterator

from app.comparison import compare_traces
from app.handlers import HEARTBEAT_S, Handlers
from app.messages import ContestProgress, ContestResult, ContestState
from app.run_record import RunRecord
from app.session import ChatSession
from app.texts import checked_text
from core.config import RunConfig
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.strict_json import dumps
from core.trace import Trace

MOST_CONTENDERS = 4
MOST_REPEATS = 5
_WARM_UP_TOKENS = 8
_PROGRESS_PAUSE_S = 0.1


def contest(
    handlers: Handlers,
    session: ChatSession,
    prompt: str,
    contenders: list[RunConfig],
    num_repeats: int,
) -> Iterator[str]:
    """Runs everything one after the other; yields progress messages, then the comparison.

    Every contender first runs a few tokens that do not count, so that quantizing, measuring and
    first-call costs stay outside. Rounds alternate, so that a machine that slows down slows all.
    """
    prompt = checked_text(prompt, "prompt")
    configs = _checked(contenders, num_repeats)
    for config in configs:
        handlers.check(config, session.owner)
    messages = [{"role": "user", "content": prompt}]
    warm_ups = [dataclasses.replace(config, max_new_tokens=_WARM_UP_TOKENS) for config in configs]
    runs = [("warm-up", config) for config in warm_ups]
    runs += [(f"round {number + 1}", c) for number in range(num_repeats) for c in configs]
    traces: list[Trace] = []
    session.is_contest_stopped = False
    for place, (stage, config) in enumerate(runs):
        record = RunRecord(secrets.token_urlsafe(16), prompt, config.mode)
        session.contest = record
        is_counted = stage != "warm-up"
        handlers.start(
            [record],
            [messages],
            config,
            session.visitor if is_counted else None,
            session.owner,
        )
        try:
            yield from _progress(record, stage, place, len(runs))
        finally:
            record.stop.set()
        if session.is_contest_stopped:
            raise SpecDecodesError("Stopped; nothing was compared.")
        if record.failure:
            raise SpecDecodesError(f"{config.mode}: {record.failure}")
        if is_counted:
            traces.append(record.snapshot())
    result: ContestResult = {"result": compare_traces(traces)}
    yield dumps(result)


def _checked(contenders: list[RunConfig], num_repeats: int) -> list[RunConfig]:
    """Plain decoding with the first one's settings, then the contenders, each once."""
    if not contenders:
        raise InvalidSettingError("There is nothing to compare; add settings first.")
    if not isinstance(num_repeats, int) or not 1 <= num_repeats <= MOST_REPEATS:
        raise InvalidSettingError(
            f"repeats is {shown(num_repeats)}; give a number from 1 to {MOST_REPEATS}."
        )
    configs = list(dict.fromkeys([contenders[0].plain(), *contenders]))
    if len(configs) > MOST_CONTENDERS:
        raise InvalidSettingError(
            f"{len(configs)} runs are chosen with plain decoding; at most {MOST_CONTENDERS} fit."
        )
    if len({(c.target, c.dtype, c.weights, c.compile) for c in configs}) > 1:
        raise InvalidSettingError(
            "The runs differ in target, dtype, weights or compile; give the same for all."
        )
    return configs


def _progress(record: RunRecord, stage: str, place: int, count: int) -> Iterator[str]:
    version = -1
    while not record.is_ended:
        version = record.wait(version, HEARTBEAT_S)
        state: ContestState = {
            "stage": f"{stage}: {record.mode}",
            "status": record.status_text,
            "tokens": record.num_tokens,
            "done": place,
            "total": count,
        }
        message: ContestProgress = {"progress": state}
        yield dumps(message)
        time.sleep(_PROGRESS_PAUSE_S)
