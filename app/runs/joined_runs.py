"""Runs of several requests that one engine answers side by side: who waits and fits is taken in."""

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from app.engines.chat import Chat
from app.engines.engine_slot import EngineKey, EngineSlot, prompt_of
from app.engines.fair_queue import FairQueue
from app.runs.run import Run
from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.modes.share_sd import wants_offload
from core.trace.events import RunFailed, RunStarted


class JoinedRuns:
    """Those of a request: answered with those of others, or taken by who answers others already."""

    def __init__(
        self,
        runs: list[Run],
        chats: Sequence[Chat],
        configs: Sequence[RunConfig],
        key: EngineKey,
        size: int,
    ):
        """There is a run for each chat and its settings. Runs that are taken in come into the list
        `runs` too; `size` are side by side, at most."""
        self._runs = runs
        self._waiting = deque(zip(runs, chats, configs, strict=True))
        self._place = key, wants_offload(configs[0])
        self._size = size

    def answer(self, slot: EngineSlot, queue: FairQueue) -> None:
        """Runs them, and those of the queue that fit, until none is left. Raises what it raises."""
        begun: list[Run] = []

        def show_loading(stage: str, done: int, total: int) -> None:
            for run in begun[-1:] or self._runs:
                run.set_status("loading", stage, done, total)

        engine = slot.engine(self._place[0], show_loading)

        def next_run() -> JoiningRun | None:
            if not self._waiting:
                self._take_in(queue)
            if not self._waiting:
                return None
            run, chat, config = self._waiting.popleft()
            begun.append(run)
            run.set_status("running", "Reading the prompt")
            return JoiningRun(partial(prompt_of, engine, chat), config, run.stop.is_set)

        for place, event in engine.run_joining(next_run, self._size):
            run = begun[place]
            if isinstance(event, (RunStarted, RunFailed)):
                slot.show_ready()
                run.set_status("running", "Reading the prompt")
            run.add(event)
            if run.outcome is not None:
                run.close(run.outcome)

    def _take_in(self, queue: FairQueue) -> None:
        ticket = queue.take_next(self._fits)
        if ticket is not None:
            other: JoinedRuns = ticket.offer
            self._runs += other._runs
            self._waiting += other._waiting

    def _fits(self, offer: Any) -> bool:
        return isinstance(offer, JoinedRuns) and offer._place == self._place
