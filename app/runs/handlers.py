"""What the page's controls do: plain functions and generators that know no component."""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from app.engines.chat import Chat
from app.engines.engine_slot import EngineKey
from app.engines.model_pool import ModelPool
from app.messages import Cleared, Notice, Resumed
from app.runs.archive import Archive
from app.runs.branches import branch_of
from app.runs.lab_runs import LabRuns
from app.runs.limits import Limits
from app.runs.run import Run
from app.runs.run_finder import RunFinder
from app.runs.run_form import config_from_values, mode_help
from app.runs.run_keeper import RunKeeper
from app.runs.run_store import RunStore
from app.runs.run_totals import RunTotals
from app.runs.runner import RunRequest, start_runs
from app.runs.session import ChatSession
from app.runs.texts import checked_text, whole_characters
from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from core.errors import InvalidSettingError, SpecDecodesError
from core.modes.settings import remembers
from core.runtime.strict_json import dumps
from core.trace.fork import Fork

FRAME_S = 1 / 60
# A listener whose page has gone is only noticed between two messages.
HEARTBEAT_S = 0.5
_CLOSE_S = 5.0
MOST_RESUMED = 100

_notice_numbers = itertools.count(1)


class Handlers:
    """Binds the page to its pool and its runs; sessions come from the visitors."""

    def __init__(
        self, pool: ModelPool, store: RunStore, archive: Archive, limits: Limits | None = None
    ):
        self.limits = limits or Limits()
        self.totals = RunTotals()
        self.pool = pool
        self.store = store
        self.archive = archive
        self.finder = RunFinder(store, archive)
        self.labs = LabRuns()

    def ask(
        self,
        session: ChatSession,
        text: str,
        system: str | None,
        values: dict[str, Any],
        *,
        raw: bool = False,
        turns: Sequence[Any] | None = None,
    ) -> Iterator[str]:
        """Answers a message; yields the page's messages until the answer is complete.

        It follows upon `turns`, the ids of the runs that the page shows; see `ChatSession.shown`. With
        `raw` the message is a text that is continued as it is. Raises SpecDecodesError before the first
        one where the message or a setting is wrong.
        """
        shown = session.shown(turns)
        yield from self._answer(session, checked_text(text, "message"), system, values, raw, shown)

    def retry(
        self,
        session: ChatSession,
        system: str | None,
        values: dict[str, Any],
        *,
        raw: bool = False,
        turns: Sequence[Any] | None = None,
    ) -> Iterator[str]:
        """Answers the last of the turns anew, with the present settings; a branch goes on anew from the
        tokens that it began with."""
        shown = session.shown(turns)
        if not shown:
            raise SpecDecodesError("There is nothing to retry; ask something first.")
        *before, last = shown
        yield from self._answer(session, last.user_text, system, values, raw, before, last)

    def fork(
        self, session: ChatSession, run_id: Any, position: Any, token_ids: Any
    ) -> Iterator[str]:
        """Goes on from other tokens of an answer, as its branch and under its settings.

        Yields the page's messages until the branch is complete; see `branch_of` for what is raised.
        """
        parent = self._known(session, str(run_id))
        branch = branch_of(parent, position, token_ids)
        assert parent is not None, "it has a branch"
        record = self._begin(
            session,
            parent.user_text,
            branch.fork,
            branch.config,
            turn_id=parent.turn_id,
            after_id=parent.after_id,
        )
        yield from follow(record)

    def _known(self, session: ChatSession, run_id: str) -> Run | None:
        """A run of the chat, or one that the visitor may see and that is one of the chat from now on."""
        for record in session.runs:
            if record.run_id == run_id:
                return record
        found = self.records(session, [run_id])
        session.resume(found)
        return found[0] if found else None

    def resume(self, session: ChatSession, run_ids: Sequence[Any]) -> Iterator[str]:
        """Goes on with the turns that a page shows, or remembers from before it was loaded anew.

        Yields which of them there still are, then the messages of those that are not over.
        """
        records = self.records(session, run_ids)
        new = session.resume(records)
        going_on = [record for record in new if not record.is_ended]
        told: Resumed = {
            "resumed": [
                {"run": record.run_id, "is_over": record not in going_on} for record in records
            ]
        }
        yield dumps(told)
        for record in going_on:
            yield from follow(record)

    def adopt(self, session: ChatSession, run_ids: Sequence[Any]) -> None:
        """Makes the turns that a page shows those of the chat; kept runs among them are over."""
        session.resume(self.records(session, run_ids))

    def records(self, session: ChatSession, run_ids: Sequence[Any]) -> list[Run]:
        """Those of the runs that there still are for the session's visitor."""
        records = []
        for run_id in run_ids[-MOST_RESUMED:]:
            with suppress(SpecDecodesError):  # no id, or a trace that cannot be read
                record = self.finder.record(session.visitor, str(run_id))
                records += [] if record is None else [record]
        return records

    def _answer(
        self,
        session: ChatSession,
        text: str,
        system: str | None,
        values: dict[str, Any],
        raw: bool,
        turns: Sequence[Run],
        replaced: Run | None = None,
    ) -> Iterator[str]:
        system = whole_characters(system or "")
        if raw and system.strip():
            raise InvalidSettingError(
                "A system prompt is no setting beside raw text, which uses no template; leave one of "
                "them out."
            )
        chat: Chat = text if raw else session.messages(system, turns, text)
        config = config_from_values(values)
        if replaced is None:
            after = turns[-1].run_id if turns else None
            record = self._begin(session, text, chat, config, after_id=after)
        else:
            record = self._begin(
                session,
                text,
                replaced.fork or chat,
                config,
                replaced,
                turn_id=replaced.turn_id,
                after_id=replaced.after_id,
            )
        yield from follow(record)

    def _begin(
        self,
        session: ChatSession,
        text: str,
        chat: Chat,
        config: RunConfig,
        replaced: Run | None = None,
        *,
        turn_id: str | None = None,
        after_id: str | None = None,
    ) -> Run:
        """Queues an answer of the chat; raises SpecDecodesError where it may not begin."""
        if session.is_busy:
            raise SpecDecodesError("An answer is still coming; stop it or wait for its end.")
        self.check(config, session.owner)
        if replaced is not None:
            session.remove(replaced)
        replaces = replaced.run_id if replaced else None
        record = self.store.create(text, config.mode, replaces, turn_id=turn_id, after_id=after_id)
        record.fork = chat if isinstance(chat, Fork) else None
        session.append(record)
        memory = session.memory_of(config.target)
        self.start([record], [chat], [config], session.visitor, session.owner, memory=memory)
        return record

    def check(self, config: RunConfig, owner: str | None) -> None:
        """Raises InvalidSettingError for a run that this page does not give its owner."""
        queue = self.pool.fair_queue
        self.limits.check(config, queue.length, queue.length_of(owner))

    def start(
        self,
        records: Sequence[Run],
        chats: Sequence[Chat],
        configs: Sequence[RunConfig],
        visitor: str | None,
        owner: str | None,
        *,
        memory: SuffixMemory | None,
        size: int = 1,
        is_profile: bool = False,
        joins: bool = False,
    ) -> None:
        """Queues a run for each chat under its settings, `size` of them side by side, in a place of
        their owner; they are written down as they go, and kept for the visitor, if there is one. A
        profile is of one. All want the same engine. Where they may join, those of others that may are
        among the `size`. `memory` has the visitor's earlier answers; None where none are remembered."""
        for run, config in zip(records, configs, strict=True):
            run.sinks = [self.totals, RunKeeper(self.archive, visitor, run.run_id)]
            run.config = config
        config = configs[0]
        key = EngineKey(config.target, config.dtype, config.weights, config.compile)
        used = memory if remembers(config.drafter) else None
        request = RunRequest(key, chats, configs, size, owner, used, is_profile, joins)
        start_runs(self.pool, records, request)

    def close(self) -> None:
        """Ends what runs and loads, and waits a little for that: the program is about to end."""
        self.pool.cancel()
        until_s = time.monotonic() + _CLOSE_S
        for record in self.store.runs:
            record.stop.set()
        for record in self.store.runs:
            while not record.is_ended and time.monotonic() < until_s:
                record.wait(record.version, HEARTBEAT_S)

    def stop(self, session: ChatSession) -> None:
        """Ends the run in progress within one step."""
        session.stop()

    def clear(self, session: ChatSession) -> str:
        """Empties the chat, stopping what runs."""
        self.store.drop(session.clear())
        cleared: Cleared = {"clear": next(_notice_numbers)}
        return dumps(cleared)

    def since(self, request: str) -> str:
        """A message with all events of a run from a given one on; asked for by the page on a gap.

        `request` is "run_id:first"; an unknown run gives an empty string.
        """
        run_id, _, first = str(request).rpartition(":")
        record = self.store.get(run_id)
        if record is None or not first.isdecimal():
            return ""
        return record.message(int(first))[0]

    def describe_mode(self, mode: str, draft: str | None = None) -> tuple[str, str]:
        """What a mode does, and why it cannot run with the loaded target (else empty)."""
        why_not = self.pool.unavailable_reason(mode, (draft or "").strip() or None)
        return mode_help(mode), why_not or ""


def notice(error: SpecDecodesError) -> str:
    """The page's message for something that was refused before it began."""
    told: Notice = {"notice": str(error), "number": next(_notice_numbers)}
    return dumps(told)


def follow(record: Run) -> Iterator[str]:
    """The messages of a run from its start to its end, at most one a frame."""
    first, version = 0, -1
    with record.watchers.one_more():
        while True:
            started_s = time.monotonic()
            version = record.wait(version, HEARTBEAT_S)
            is_last = record.is_ended
            message, first = record.message(first)
            yield message
            if is_last:
                return
            time.sleep(max(0.0, FRAME_S - (time.monotonic() - started_s)))
