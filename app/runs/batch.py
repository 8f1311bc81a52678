"""Several prompts side by side: a row each, which grows as its answer does."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from app.engines.chat import single_chat
from app.runs.handlers import FRAME_S, HEARTBEAT_S, Handlers
from app.runs.run import Run
from app.runs.session import ChatSession
from app.runs.texts import checked_text
from core.config import RunConfig
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.runtime.strict_json import dumps
from core.runtime.text_files import numbered_lines

MOST_ROWS = 32
# A frame's messages of all rows are sent together.
_PAUSE_S = 3 * FRAME_S


def batch(
    handlers: Handlers,
    session: ChatSession,
    text: str,
    size: int,
    config: RunConfig,
    *,
    raw: bool = False,
) -> Iterator[str]:
    """Answers the lines of a text, `size` side by side; yields what is new of all rows.

    With `raw` each line is continued as it is.
    Raises SpecDecodesError before the first message where a line or a setting is wrong.
    """
    prompts = _prompts(text)
    if not isinstance(size, int) or not 1 <= size <= MOST_ROWS:
        raise InvalidSettingError(
            f"side by side is {shown(size)}; give a number from 1 to {MOST_ROWS}."
        )
    if any(not record.is_ended for record in session.batch):
        raise SpecDecodesError("A batch is still running; stop it or wait for its end.")
    handlers.check(config, session.owner)
    handlers.store.drop(session.end_batch())
    records = [handlers.store.create(prompt, config.mode) for prompt in prompts]
    session.batch = records
    chats = [single_chat(prompt, raw=raw) for prompt in prompts]
    memory = session.memory_of(config.target)
    configs = [config] * len(records)
    handlers.start(
        records, chats, configs, session.visitor, session.owner, memory=memory, size=size
    )
    yield from _follow(records)


def _prompts(text: str) -> list[str]:
    """The lines that hold text; raises InvalidSettingError."""
    lines = [line for _, line in numbered_lines(checked_text(text, "prompts"))]
    if len(lines) > MOST_ROWS:
        raise InvalidSettingError(
            f"{len(lines)} prompts are given; at most {MOST_ROWS} fit, a line each."
        )
    return lines


def resume_batch(handlers: Handlers, session: ChatSession, run_ids: Sequence[Any]) -> Iterator[str]:
    """Goes on with the rows that a page remembers from before it was loaded anew."""
    records = handlers.records(session, run_ids)
    if records and not session.batch:
        session.batch = records
        yield from _follow(records)


def _follow(records: Sequence[Run]) -> Iterator[str]:
    """Messages of all rows together, from their start to their end."""
    firsts = [0] * len(records)
    versions = [-1] * len(records)
    ids = dumps([record.run_id for record in records])
    with ExitStack() as watching:
        for record in records:
            watching.enter_context(record.watchers.one_more())
        while True:
            is_last = all(record.is_ended for record in records)
            rows = []
            for place, record in enumerate(records):
                version = record.version
                if version != versions[place]:
                    versions[place] = version
                    message, firsts[place] = record.message(firsts[place])
                    rows.append(message)
            seconds = dumps(_seconds(records))
            yield f'{{"rows":[{",".join(rows)}],"ids":{ids},"seconds":{seconds}}}'
            if is_last:
                return
            for record, version in zip(records, versions, strict=True):
                if not record.is_ended:  # one that goes on wakes for all
                    record.wait(version, HEARTBEAT_S)
                    break
            time.sleep(_PAUSE_S)


def _seconds(records: Sequence[Run]) -> float | None:
    """From the start of the first to the end of the last; None where that is not known."""
    began_s = [record.began_s for record in records if record.began_s is not None]
    if len(began_s) < len(records):
        return None
    now_s = time.monotonic()
    ended_s = [now_s if record.ended_s is None else record.ended_s for record in records]
    return round(max(ended_s) - min(began_s), 3)
