"""A server as an engine: it is asked, and what its stream shows becomes the events of a run."""

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from core.attached.event_stream import EventStream, StreamError, open_client
from core.attached.keys import key_of
from core.attached.kinds import (
    VLLM,
    Asked,
    Server,
    ServerKind,
    asked_chat,
    find_server,
    metrics,
    request_fields,
    sampling_fields,
)
from core.attached.reading import StreamReader
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.modes.server import MODE, parse_address
from core.trace.events import Event, FinishReason, RunFailed, RunFinished, RunStarted
from core.trace.failures import refused
from core.trace.fork import Fork
from core.trace.stamps import new_run_id, utc_now

# How soon a stop is heard of while a server is silent.
_POLL_S = 0.05
# vLLM counts a step a little after it has sent it.
_COUNTER_PATIENCE_S = 1.0


class ServerPrompt(NamedTuple):
    """A prompt as shown and as the server is given it."""

    text: str
    asked: Asked


class AttachedEngine:
    """Implements what `core.engine.Engine` offers for runs; several go on at once if they are asked
    for together."""

    is_usable = True

    def __init__(
        self,
        target: str,
        clock: Callable[[], float] = time.perf_counter,
        kind: ServerKind | None = None,
        extra: Mapping[str, Any] | None = None,
    ):
        """Finds out what the server is, unless it is known to be of a `kind`; `extra` are fields of
        every request besides. Raises ModelUnavailableError where nobody answers and InvalidSettingError
        for an address or model that cannot be."""
        address = parse_address(target)
        self.target = target
        self._clock = clock
        self._address = address
        self._extra = extra or {}
        self._client = open_client(address.url, key_of(address))
        self.server: Server = find_server(self._client, address.model, kind)

    def chat_prompt(self, messages: list[dict[str, str]]) -> ServerPrompt:
        """A chat, which the server's own template makes a prompt of."""
        return ServerPrompt(
            messages[-1]["content"], asked_chat(self._client, self.server, messages)
        )

    def raw_prompt(self, text: str) -> ServerPrompt:
        """A text that the server continues as it is."""
        return ServerPrompt(text, asked_chat(self._client, self.server, text))

    def token_prompt(self, token_ids: list[int]) -> ServerPrompt:
        """Raises InvalidSettingError: token ids are of one vocabulary, and a server's is not told."""
        raise InvalidSettingError(
            f"the prompt is token ids and {self.target} is a server; give text, or ask it itself."
        )

    def fork_prompt(self, fork: Fork) -> ServerPrompt:
        """Raises InvalidSettingError: a branch goes on from token ids."""
        raise InvalidSettingError(
            f"{self.target} is a server, which cannot go on from token ids; fork a run of a model that "
            "is loaded here."
        )

    def unavailable_reason(self, mode: str, draft: str | None = None) -> str | None:
        """Why a mode cannot run; a server drafts as it was started."""
        if mode == MODE:
            return None
        return (
            f"{self.target} is a server, which decodes as it was started; give mode {MODE}, or a model "
            f"that is loaded here for mode {mode}."
        )

    def run(
        self,
        prompt: ServerPrompt,
        config: RunConfig,
        *,
        memory: object = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """See `Engine.run`. What a server refuses or breaks off is a RunFailed event."""
        events = self.run_batch([(prompt, config)], 1, memory=memory, should_stop=should_stop)
        return (event for _, event in events)

    def profile(
        self, prompt: Any, config: RunConfig, *, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Event]:
        """Raises InvalidSettingError: what a drafter proposes can be asked at every position of a model
        that is loaded here alone."""
        raise InvalidSettingError(
            f"{self.target} is a server, of which no profile can be made; give a model that is loaded "
            "here."
        )

    def run_batch(
        self,
        runs: Sequence[tuple[ServerPrompt, RunConfig]],
        size: int,
        *,
        memory: object = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Event]]:
        """See `Engine.run_batch`: `size` requests go on at once, which the server batches as it can."""
        if size < 1:
            raise InvalidSettingError(f"size is {size}; give at least 1.")
        for _, config in runs:
            reason = self.unavailable_reason(config.mode)
            if reason is not None:
                raise InvalidSettingError(reason)
            sampling_fields(self.server.kind, config.sampling)
        return self._events(runs, size, should_stop)

    def run_joining(self, next_run: Callable[[], Any], size: int) -> Iterator[tuple[int, Event]]:
        """See `Engine.run_joining`: a server has an interface of its own, so that every run is refused,
        by a RunFailed event."""
        words = f"{self.target} is a server; ask it itself, or load a model here."
        event = refused(InvalidSettingError(words))
        for index, _ in enumerate(iter(next_run, None)):
            yield index, event

    def _events(
        self,
        runs: Sequence[tuple[ServerPrompt, RunConfig]],
        size: int,
        should_stop: Callable[[], bool],
    ) -> Iterator[tuple[int, Event]]:
        waiting = deque(enumerate(runs))
        arrivals: queue.SimpleQueue[tuple[int, Any, float]] = queue.SimpleQueue()
        active: dict[int, _Answer] = {}
        try:
            while active or waiting:
                while waiting and len(active) < size and not should_stop():
                    place, (prompt, config) = waiting.popleft()
                    answer = _Answer(self, place, prompt, config, arrivals, min(size, len(runs)))
                    active[place] = answer
                    yield place, answer.started
                if should_stop():
                    waiting.clear()
                    for place, answer in active.items():
                        for event in answer.stop(self._clock()):
                            yield place, event
                    active.clear()
                    continue
                try:
                    place, what, at_s = arrivals.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if place in active:
                    for event in active[place].take(what, at_s):
                        yield place, event
                    if active[place].is_over:
                        del active[place]
        finally:
            for answer in active.values():
                answer.stream.stop()

    def started(self, prompt: ServerPrompt, config: RunConfig, batch_size: int) -> RunStarted:
        """The first event of a run."""
        server = self.server
        version = f" {server.version}" if server.version else ""
        return RunStarted(
            step=0,
            t_start_s=0.0,
            t_end_s=0.0,
            run_id=new_run_id(),
            started_at=utc_now(),
            config=config.to_dict(),
            target={
                "name": self.target,
                "source": "server",
                "note": f"a server ({server.kind.name}{version}), which decodes as it was started",
            },
            draft=None,
            device="the server's",
            versions={},
            seed=config.sampling.seed,
            prompt_text=prompt.text,
            prompt_token_ids=prompt.asked.token_ids,
            batch_size=batch_size,
            lossy_rule="",
            server={
                "kind": server.kind.name,
                "address": self._address.url,
                "model": server.model,
                "version": server.version,
                "speculates": server.speculates,
            },
        )

    def ask(
        self,
        prompt: ServerPrompt,
        config: RunConfig,
        take: Callable[[dict[str, Any] | StreamError | None, float], None],
    ) -> EventStream:
        """Begins an answer; see `EventStream`."""
        body = {
            **request_fields(self.server.kind, self.server.model, config),
            **self._extra,
            **prompt.asked.fields,
        }
        return EventStream(self._client, prompt.asked.path, body, self._clock, take)

    def counters(self) -> dict[str, float]:
        """vLLM's counters of tokens and drafts; empty for other servers, and where it tells none."""
        if self.server.kind is not VLLM or not self.server.speculates:
            return {}
        found = metrics(self._client)
        return {name: found[name] for name in _COUNTERS if name in found}

    def now_s(self) -> float:
        return self._clock()


# vLLM's counters in our words; the first one tells whether somebody else was answered meanwhile.
_COUNTERS = {
    "vllm:generation_tokens_total": "num_tokens",
    "vllm:spec_decode_num_drafts_total": "num_draft_steps",
    "vllm:spec_decode_num_draft_tokens_total": "num_drafted",
    "vllm:spec_decode_num_accepted_tokens_total": "num_accepted",
}


class _Answer:
    """One answer on its way."""

    def __init__(
        self,
        engine: AttachedEngine,
        place: int,
        prompt: ServerPrompt,
        config: RunConfig,
        arrivals: "queue.SimpleQueue[tuple[int, Any, float]]",
        batch_size: int,
    ):
        self.is_over = False
        self.started = engine.started(prompt, config, batch_size)
        self._engine = engine
        self._reader = StreamReader(
            prompt.asked.token_ids, engine.server.speculates, config.max_new_tokens
        )
        # In a batch the counters are of several answers.
        self._before = engine.counters() if batch_size == 1 else {}
        self._origin_s = engine.now_s()
        self.stream = engine.ask(prompt, config, lambda what, t_s: arrivals.put((place, what, t_s)))

    def take(self, what: dict[str, Any] | StreamError | None, at_s: float) -> Iterator[Event]:
        """The events that an arrival makes; after the last one the answer is over."""
        t_s = max(0.0, at_s - self._origin_s)
        try:
            if isinstance(what, StreamError):
                raise what
            if what is not None:
                yield from self._reader.add(what, t_s)
                return
            self._count()
            yield from self._reader.finish(t_s, is_whole=True)
            yield self._finished(self._reader.reason(), t_s)
        except StreamError as error:
            self.stream.stop()
            yield self._failed(str(error), t_s)
        self.is_over = True

    def stop(self, at_s: float) -> Iterator[Event]:
        """Ends the answer where it is."""
        self.stream.stop()
        t_s = max(0.0, at_s - self._origin_s)
        yield from self._reader.finish(t_s, is_whole=False)
        yield self._finished("stopped", t_s)
        self.is_over = True

    def _count(self) -> None:
        """Asks for the server's counters, where its answer did not tell of its drafts and nobody else
        was answered meanwhile."""
        if not self._before or "num_drafted" in self._reader.told:
            return
        wanted = self._reader.told.get("num_tokens")
        deadline_s = time.monotonic() + _COUNTER_PATIENCE_S
        while True:
            after = self._engine.counters()
            grown = {
                _COUNTERS[name]: int(value - self._before.get(name, 0.0))
                for name, value in after.items()
            }
            if grown.get("num_tokens") == wanted or time.monotonic() > deadline_s:
                break
            time.sleep(_POLL_S)
        if grown.pop("num_tokens", None) == wanted and min(grown.values(), default=-1) >= 0:
            self._reader.tell(["/metrics"], grown)

    def _finished(self, reason: FinishReason, t_s: float) -> RunFinished:
        return RunFinished(
            step=self._reader.stats.num_steps,
            t_start_s=t_s,
            t_end_s=t_s,
            reason=reason,
            tail_text=self._reader.tail_text,
            totals=self._reader.stats.to_dict(),
            peak_memory_bytes=None,
        )

    def _failed(self, message: str, t_s: float) -> RunFailed:
        return RunFailed(
            step=self._reader.stats.num_steps,
            t_start_s=t_s,
            t_end_s=t_s,
            error="ServerFailed",
            message=message,
            totals=self._reader.stats.to_dict(),
        )
