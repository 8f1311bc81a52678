"""A comparison in the making: plain decoding and other settings, in turn and in rounds."""

import dataclasses
import logging
import secrets
import threading
from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple

from app.engines.chat import single_chat
from app.messages import (
    ComparisonEntry,
    ComparisonProgress,
    ComparisonResult,
    ComparisonState,
    Contender,
    ContenderPhase,
)
from app.runs.comparison import MOST_COMPARED, compare_traces
from app.runs.followed_run import follow_run
from app.runs.handlers import HEARTBEAT_S, Handlers
from app.runs.run import Run
from app.runs.run_form import changed_settings
from app.runs.texts import checked_text
from app.runs.watchers import Newest
from core.acceptance.registry import lossy_rule
from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.modes.server import is_address
from core.runtime.strict_json import dumps
from core.trace.failures import describe_failure
from core.trace.file import Trace

MOST_REPEATS = 5
_WARM_UP_TOKENS = 8
_MOST_KEPT = 20

_log = logging.getLogger(__name__)


class _Word(NamedTuple):
    """What there is to tell of a comparison."""

    message: str = ""
    failure: SpecDecodesError | None = None
    is_over: bool = False


class ComparisonRun:
    """Runs everything one after the other on a thread of its own; pages follow it.

    Each setting first runs a few tokens that do not count, so that quantizing, measuring and first-call
    costs stay outside. Rounds alternate, so that a machine that slows down slows all. One that fails
    is left out from there on, and its sentence stands beside its name.
    """

    def __init__(
        self,
        handlers: Handlers,
        prompt: str,
        entries: Sequence[RunConfig],
        num_repeats: int,
        *,
        visitor: str | None,
        owner: str | None,
        memory: SuffixMemory | None,
        raw: bool = False,
    ):
        """Begins; raises SpecDecodesError for what is refused. With `raw` the prompt is continued as
        it is; see `Handlers.start` for visitor and owner. All runs see the `memory` as it is now: the
        answers of one are not those that another looks up.
        """
        self.comparison_id = secrets.token_urlsafe(16)
        self.entries = list(entries)
        self.visitor = visitor
        self._handlers = handlers
        self._prompt = checked_text(prompt, "prompt")
        self._chat = single_chat(self._prompt, raw=raw)
        self._owner = owner
        self._memory = copy(memory)
        self._plan = _planned(_checked(self.entries, num_repeats), num_repeats)
        self._contenders: dict[RunConfig, Contender] = {
            planned.entry: {**described(planned.entry), "phase": "waiting", "told": "waits"}
            for planned in self._plan
        }
        for planned in self._plan:
            handlers.check(planned.config, owner)
        self._stop = threading.Event()
        self._newest = Newest(_Word())
        threading.Thread(target=self._run, name="comparison", daemon=True).start()

    @property
    def is_over(self) -> bool:
        return self._newest.word.is_over

    def stop(self) -> None:
        """Ends the comparison within one step."""
        self._stop.set()

    def follow(self) -> Iterator[str]:
        """What there is to tell: how far it is, then the comparison.

        Raises SpecDecodesError at the end where there is none, behind how far it came.
        """
        for word in self._newest.follow(HEARTBEAT_S):
            if word.message:
                yield word.message
            if word.failure is not None:
                raise word.failure
            if word.is_over:
                return

    def _tell(
        self,
        message: ComparisonProgress | ComparisonResult,
        failure: SpecDecodesError | None = None,
    ) -> None:
        is_over = failure is not None or "result" in message
        self._newest.tell(_Word(dumps(message), failure, is_over))

    def _run(self) -> None:
        found: dict[RunConfig, list[Trace]] = {entry: [] for entry in self._contenders}
        try:
            for place, planned in enumerate(self._plan):
                if planned.entry not in found:
                    continue
                record = self._one(place, planned)
                if record.failure:
                    self._note(planned.entry, "failed", record.failure)
                    del found[planned.entry]
                elif planned.stage != _WARM_UP:
                    found[planned.entry].append(record.snapshot())
            if not found:
                first = next(iter(self._contenders.values()))
                raise SpecDecodesError(f"{first['mode']}: {first['told']}")
            # Round by round: the first run of each is the one that is raced.
            traces = [trace for of_round in zip(*found.values(), strict=True) for trace in of_round]
            contenders = list(self._contenders.values())
            self._tell({"result": compare_traces(traces), "contenders": contenders})
        except SpecDecodesError as error:
            self._end(error)
        except Exception as error:
            _log.exception("a comparison broke")
            self._end(SpecDecodesError(f"The comparison broke: {describe_failure(error)}"))

    def _end(self, failure: SpecDecodesError) -> None:
        self._tell({"progress": self._progress(len(self._plan))}, failure)

    def _note(self, entry: RunConfig, phase: ContenderPhase, told: str) -> None:
        self._contenders[entry]["phase"] = phase
        self._contenders[entry]["told"] = told

    def _one(self, place: int, planned: "_Planned") -> Run:
        """Runs one of the plan to its end, also by a failure; raises SpecDecodesError where it is
        stopped."""
        config = planned.config
        record = self._handlers.store.create(self._prompt, config.mode)
        visitor = None if planned.stage == _WARM_UP else self.visitor

        def tell() -> None:
            count = f"{record.num_tokens} tokens" if record.num_tokens else record.status_text
            self._note(planned.entry, "running", f"{planned.stage}: {count}")
            self._tell({"progress": self._progress(place)})

        pool, watchers = self._handlers.pool, self._newest.watchers
        with record.watchers.one_more():
            self._handlers.start(
                [record], [self._chat], [config], visitor, self._owner, memory=copy(self._memory)
            )
            ending = follow_run(record, pool, self._stop, watchers, tell)
        if ending:
            self._note(planned.entry, "failed", ending)
            raise SpecDecodesError(f"{ending}; nothing was compared.")
        phase: ContenderPhase = "done" if planned.is_last else "waiting"
        stage = "done" if planned.is_last else f"{planned.stage} is done"
        self._note(planned.entry, phase, f"{stage}: {record.num_tokens} tokens")
        return record

    def _progress(self, num_done: int) -> ComparisonState:
        contenders = list(self._contenders.values())
        return {"contenders": contenders, "done": num_done, "total": len(self._plan)}


class ComparisonRuns:
    """The latest comparisons of all visitors; whoever has the id, and is the visitor, may go on."""

    def __init__(self) -> None:
        self._comparisons: dict[str, ComparisonRun] = {}

    def add(self, comparison: ComparisonRun) -> None:
        self._comparisons[comparison.comparison_id] = comparison
        while len(self._comparisons) > _MOST_KEPT:
            del self._comparisons[next(iter(self._comparisons))]

    def find(self, visitor: str | None, comparison_id: str) -> ComparisonRun | None:
        """None where there is none, or it is somebody else's."""
        comparison = self._comparisons.get(comparison_id)
        return comparison if comparison is not None and comparison.visitor == visitor else None


_WARM_UP = "warm-up"


class _Planned(NamedTuple):
    """One run of a comparison."""

    stage: str
    entry: RunConfig
    """Whose run it is."""
    config: RunConfig
    """What runs."""
    is_last: bool
    """Whether the entry has no further one."""


def _planned(configs: list[RunConfig], num_repeats: int) -> list[_Planned]:
    """What runs, in order."""
    warm_ups = [_Planned(_WARM_UP, config, _warm_up(config), False) for config in configs]
    return warm_ups + [
        _Planned(f"round {number} of {num_repeats}", config, config, number == num_repeats)
        for number in range(1, num_repeats + 1)
        for config in configs
    ]


def described(config: RunConfig) -> ComparisonEntry:
    """Settings of a comparison as the page shows them."""
    # Our own modes share a target.
    server = config.target if is_address(config.target) else ""
    return {
        "mode": config.mode,
        "settings": ", ".join(filter(None, [server, changed_settings(config)])),
        "lossy_rule": lossy_rule(config.to_dict()),
    }


def _warm_up(config: RunConfig) -> RunConfig:
    """A few tokens of a run."""
    least = min(config.sampling.min_new_tokens, _WARM_UP_TOKENS)
    sampling = dataclasses.replace(config.sampling, min_new_tokens=least)
    return dataclasses.replace(config, max_new_tokens=_WARM_UP_TOKENS, sampling=sampling)


def _checked(entries: list[RunConfig], num_repeats: int) -> list[RunConfig]:
    """Plain decoding with the settings of the first one that runs here, then the entries, each once.

    Servers stand beside: what a server without speculation is for others of its model, visualize tells.
    """
    if not entries:
        raise InvalidSettingError("There is nothing to compare; add settings first.")
    if not isinstance(num_repeats, int) or not 1 <= num_repeats <= MOST_REPEATS:
        raise InvalidSettingError(
            f"repeats is {shown(num_repeats)}; give a number from 1 to {MOST_REPEATS}."
        )
    own = [config for config in entries if not is_address(config.target)]
    configs = list(dict.fromkeys([*(config.plain() for config in own[:1]), *entries]))
    if len(configs) > MOST_COMPARED:
        raise InvalidSettingError(
            f"{len(configs)} runs are chosen with plain decoding; at most {MOST_COMPARED} fit."
        )
    if len({(c.target, c.dtype, c.weights, c.compile) for c in own}) > 1:
        raise InvalidSettingError(
            "The runs differ in target, dtype, weights or compile; give the same for all."
        )
    return configs
