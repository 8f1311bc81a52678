"""Who answers a prompt: our engine in one mode. `transformers_runner` has the others."""

import time
from collections.abc import Callable
from typing import Protocol

from core.benchmark.measurement import Answer, Emission
from core.config import RunConfig
from core.engine import Engine, Prompt
from core.errors import SpecDecodesError
from core.events import Committed, RunFailed
from core.trace import Trace


class Runner(Protocol):
    """Answers prompts, one at a time, each as if it were the first."""

    label: str
    gives_plain_text: bool
    """Whether its answers should equal plain decoding's, id for id."""

    def answer(self, prompt: Prompt) -> Answer:
        """The whole answer; a failure is told in it, never raised."""
        ...


class EngineRunner:
    """Our engine under one configuration."""

    def __init__(
        self,
        engine: Engine,
        config: RunConfig,
        clock: Callable[[], float] = time.perf_counter,
        label: str | None = None,
    ):
        """Without a label it is the mode."""
        self.label = label or config.mode
        self.gives_plain_text = config.sampling.is_greedy or config.accept == "match"
        self._config = config
        self._engine = engine
        self._clock = clock

    def answer(self, prompt: Prompt) -> Answer:
        """See `Runner.answer`. What a mode makes ready before its first event is not timed."""
        self._engine.forget()
        try:
            events = self._engine.run(prompt, self._config)
        except SpecDecodesError as error:
            return Answer(error=str(error))
        trace = Trace()
        emissions: list[Emission] = []
        start_s = self._clock()
        for event in events:
            trace.events.append(event)
            if isinstance(event, Committed):
                emissions.append(Emission(self._clock() - start_s, len(event.token_ids)))
        total_s = self._clock() - start_s
        failed = trace.first(RunFailed)
        return Answer(
            token_ids=trace.token_ids,
            text=trace.text,
            emissions=emissions,
            total_s=total_s,
            trace=trace,
            error=f"{failed.error}: {failed.message}" if failed else None,
        )
