"""The events of a whole run: its start, the loop's, and its end, which may be a failure."""

import logging
from collections.abc import Callable, Generator
from typing import NamedTuple

from core.config import RunConfig
from core.decoding.loop import Decoder
from core.decoding.run_start import Prompt
from core.decoding.step import Clock, Stepper
from core.decoding.stop_strings import StopText
from core.loading.loading import LoadedModel
from core.runtime.environment import peak_memory_bytes
from core.trace.events import Event, FinishReason, RunFailed, RunFinished, RunStarted
from core.trace.failures import describe_failure
from core.trace.stats import RunStats

_LOG = logging.getLogger(__name__)


class RunScript(NamedTuple):
    """What is run, and until when."""

    target: LoadedModel
    prompt: Prompt
    config: RunConfig
    text: StopText
    """Of the answer, as far as it is given."""
    should_stop: Callable[[], bool]
    clock: Clock


def run_events(
    script: RunScript,
    start: Callable[[], RunStarted],
    make_stepper: Callable[[Clock], Stepper],
    on_failure: Callable[[Exception], None],
) -> Generator[Event]:
    """Raises what `start` raises, before the first event and never after it: an error that comes
    later is a RunFailed event, and `on_failure` hears of it.

    `make_stepper` takes the run's clock, whose zero is the run's start.
    """
    target, prompt, config, text, should_stop, clock = script
    stats = RunStats()
    origin_s = clock()
    yield start()

    def now_s() -> float:
        return clock() - origin_s

    try:
        decoder = Decoder(
            make_stepper(now_s),
            config,
            end_token_ids=target.eos_token_ids,
            text=text,
            clock=now_s,
            should_stop=should_stop,
        )
        reason: FinishReason = yield from _counted(
            decoder.run(prompt.token_ids, prompt.given_token_ids), stats
        )
        finished = RunFinished(
            step=stats.num_steps,
            t_start_s=now_s(),
            t_end_s=now_s(),
            reason=reason,
            tail_text=text.finish(),
            stop="" if text.cut is None else text.cut.stop,
            cut_text="" if text.cut is None else text.cut.text,
            cut_token_ids=decoder.cut_token_ids,
            totals=stats.to_dict(),
            peak_memory_bytes=peak_memory_bytes(target.device),
        )
    except Exception as error:  # a run that breaks is an event, with all before it kept
        _LOG.info("a run failed", exc_info=True)
        on_failure(error)
        yield RunFailed(
            step=stats.num_steps,
            t_start_s=now_s(),
            t_end_s=now_s(),
            error=type(error).__name__,
            message=describe_failure(error),
            totals=stats.to_dict(),
        )
        return
    yield finished


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
