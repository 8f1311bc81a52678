"""A loaded target that runs prompts: the one entrance for page, command line and benchmarks."""

import datetime
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from core.config import DRAFTER_SETTINGS, MODES, RunConfig
from core.decoder import Decoder, check_prompt
from core.drafters.base import CostOfRows
from core.drafters.registry import make_drafter
from core.errors import InvalidSettingError
from core.events import Event, FinishReason, RunFailed, RunFinished, RunStarted
from core.models.detokenizer import StreamDecoder, TokenTable
from core.models.forward import make_verifier
from core.models.loading import LoadedModel
from core.models.prompts import chat_token_ids, raw_token_ids
from core.models.storage import cache_home
from core.naming import with_token_texts
from core.runtime.cost_curve import CostCurve, context_bucket, load_or_measure
from core.runtime.environment import describe_device, package_versions, peak_memory_bytes
from core.stats import RunStats


def never() -> bool:
    """A stop flag that is never raised."""
    return False


class Prompt(NamedTuple):
    """A prompt as shown and as the model reads it."""

    text: str
    token_ids: list[int]


class Engine:
    """One target with its cache; runs one prompt at a time, and is not thread-safe."""

    def __init__(self, target: LoadedModel, clock: Callable[[], float] = time.perf_counter):
        self.target = target
        self._clock = clock
        self._backend = make_verifier(target.module, target.context_limit)
        self._token_table = TokenTable(target.tokenizer)
        self._curves: dict[int, CostCurve] = {}

    def chat_prompt(self, messages: list[dict[str, str]]) -> Prompt:
        """The target's chat template over messages of role and content, ready for an answer."""
        return Prompt(messages[-1]["content"], chat_token_ids(self.target, messages))

    def raw_prompt(self, text: str) -> Prompt:
        """The text as it is, without a template."""
        return Prompt(text, raw_token_ids(self.target, text))

    def unavailable_reason(self, mode: str) -> str | None:
        """Why a mode cannot run with this target, in one sentence; None where it can."""
        if mode not in DRAFTER_SETTINGS:
            return f"mode is {mode!r}; give one of {', '.join(MODES)}."
        return None

    def forget(self) -> None:
        """Empties the cache, so that the next run computes its whole prompt."""
        self._backend.forget()

    def cost_curve(self, length: int) -> CostCurve:
        """T(n) about a context length; measured on the first call for its bucket."""
        bucket = context_bucket(length, self.target.context_limit)
        if bucket not in self._curves:
            identity, device = self.target.identity, self.target.device
            key = (
                identity.sha256 or identity.source,
                str(self.target.dtype),
                describe_device(device),
                package_versions()["torch"],
            )
            self._curves[bucket] = load_or_measure(
                cache_home() / "cost-curves",
                key,
                self._backend.sibling,
                bucket,
            )
        return self._curves[bucket]

    def run(
        self, prompt: Prompt, config: RunConfig, *, should_stop: Callable[[], bool] = never
    ) -> Iterator[Event]:
        """Starts a run and returns its events; raises on bad input, before the first event.

        An error in the middle ends the run as a RunFailed event, never as an exception.
        """
        check_prompt(prompt.token_ids, self.target.context_limit)
        reason = self.unavailable_reason(config.mode)
        if reason is not None:
            raise InvalidSettingError(reason)
        config = replace(config, **self._actual(config))
        return with_token_texts(
            self._events(prompt, config, should_stop), self._token_table.text_of
        )

    def _actual(self, config: RunConfig) -> dict[str, Any]:
        """What the loaded target decides, for the configuration kept in the trace."""
        dtype = str(self.target.dtype).removeprefix("torch.")
        if config.dtype not in (None, dtype):
            raise InvalidSettingError(
                f"the target is loaded in {dtype} and the run asks for {config.dtype}; "
                "load it anew or leave dtype unset."
            )
        return {"dtype": dtype, "device": self.target.device.type}

    def _events(
        self, prompt: Prompt, config: RunConfig, should_stop: Callable[[], bool]
    ) -> Generator[Event]:
        stats = RunStats()
        text = StreamDecoder(self.target.tokenizer)
        drafter = make_drafter(config)
        cost = self.cost_curve(len(prompt.token_ids)) if drafter is not None else None
        origin_s = self._clock()
        yield self._started(prompt, config, cost)

        def now_s() -> float:
            return self._clock() - origin_s

        try:
            decoder = Decoder(
                self._backend,
                drafter,
                config,
                device=self.target.device,
                end_token_ids=self.target.eos_token_ids,
                text=text,
                clock=now_s,
                should_stop=should_stop,
                cost=cost,
            )
            reason: FinishReason = yield from _counted(decoder.run(prompt.token_ids), stats)
        except Exception as error:  # a run that breaks is an event, with all before it kept
            self._backend.forget()
            yield RunFailed(
                step=stats.num_steps,
                t_start_s=now_s(),
                t_end_s=now_s(),
                error=type(error).__name__,
                message=str(error) or type(error).__name__,
                totals=stats.to_dict(),
            )
            return
        yield RunFinished(
            step=stats.num_steps,
            t_start_s=now_s(),
            t_end_s=now_s(),
            reason=reason,
            tail_text=text.finish(),
            totals=stats.to_dict(),
            peak_memory_bytes=peak_memory_bytes(self.target.device),
        )

    def _started(self, prompt: Prompt, config: RunConfig, cost: CostOfRows | None) -> RunStarted:
        target = {**self.target.identity.to_dict(), "forward": self._backend.forward.name}
        if isinstance(cost, CostCurve):
            target["forward_ms"] = cost.to_ms()
        return RunStarted(
            step=0,
            t_start_s=0.0,
            t_end_s=0.0,
            run_id=secrets.token_urlsafe(12),
            started_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            config=config.to_dict(),
            target=target,
            draft=None,
            device=describe_device(self.target.device),
            versions=dict(package_versions()),
            seed=config.sampling.seed,
            prompt_text=prompt.text,
            prompt_token_ids=prompt.token_ids,
        )


def _counted(
    events: Generator[Event, None, FinishReason], stats: RunStats
) -> Generator[Event, None, FinishReason]:
    """The same events and result, counted on the way."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        stats.add(event)
        yield event
