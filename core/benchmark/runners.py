"""Who answers a prompt: our engine in one mode. `outside` has other programs."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from core.benchmark.measurement import Answer, Emission
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.drafters.suffix_memory import SuffixMemory
from core.engine import Engine
from core.errors import SpecDecodesError
from core.loading.loading import LoadedModel
from core.runtime.peak_memory import MemoryGauge, OwnMemory
from core.trace.events import Committed, Event, RunFailed
from core.trace.file import Trace

IN_PROCESS = "in this process"


class Facts(NamedTuple):
    """What decides a runner's figures beside its method; told where runners differ in it."""

    weights: str
    """Their number format, and where they come from."""
    arithmetic: str
    """Whose kernels compute, and in which number format."""
    interface: str
    """How it is asked, and by what its tokens are counted."""


AnswerTogether = Callable[[Sequence[Prompt], int], list[Answer]]
"""Takes prompts, and how many are under way at once; failures are told in the answers."""


class OneAtATime:
    """Of a runner that answers one prompt after the other."""

    answer_together = None


class Runner(Protocol):
    """Answers prompts, one at a time, each as if it were the first."""

    label: str
    gives_plain_text: bool
    """Whether its answers should equal plain decoding's, id for id."""
    facts: Facts

    @property
    def memory(self) -> MemoryGauge | None:
        """Of the processes that compute; None where they run out of sight, as on another machine."""
        ...

    def answer(self, prompt: Prompt) -> Answer:
        """The whole answer; a failure is told in it, never raised."""
        ...

    @property
    def answer_together(self) -> AnswerTogether | None:
        """Answers several prompts, so many at once; None for one that cannot."""
        ...


class EngineRunner:
    """Our engine under one configuration."""

    def __init__(
        self,
        engine: Engine,
        config: RunConfig,
        clock: Callable[[], float] = time.perf_counter,
        label: str | None = None,
        memory: SuffixMemory | None = None,
    ):
        """Without a label it is the mode. Its answers come into the memory, where its settings ask for
        one; others may use it too."""
        self.label = label or config.mode
        self.gives_plain_text = config.sampling.is_greedy or config.accept == "match"
        target = engine.target
        dtype = str(target.dtype).removeprefix("torch.")
        self.facts = Facts(
            weights_in_words(target), f"ours ({engine.forward_name}), {dtype}", IN_PROCESS
        )
        self.memory = OwnMemory(target.device)
        self._config = config
        self._engine = engine
        self._clock = clock
        self._memory = memory

    def answer(self, prompt: Prompt) -> Answer:
        """See `Runner.answer`. What a mode makes ready before its first event is not timed."""
        self._engine.forget()
        try:
            events = self._engine.run(prompt, self._config, memory=self._memory)
        except SpecDecodesError as error:
            return Answer(error=str(error))
        trace = Trace()
        emissions: list[Emission] = []
        start_s = self._clock()
        for event in events:
            trace.events.append(event)
            if isinstance(event, Committed):
                emissions.append(Emission(self._clock() - start_s, len(event.token_ids)))
        return _answer_of(trace, emissions, self._clock() - start_s)

    def answer_together(self, prompts: Sequence[Prompt], size: int) -> list[Answer]:
        """See `AnswerTogether`: a batch, in which a prompt begins when another one has ended."""
        self._engine.forget()
        runs = [(prompt, self._config) for prompt in prompts]
        timed = [_Timed(self._clock) for _ in runs]
        try:
            for place, event in self._engine.run_batch(runs, size, memory=self._memory):
                timed[place].add(event)
        except SpecDecodesError as error:
            return [Answer(error=str(error)) for _ in runs]
        return [one.answer() for one in timed]


class _Timed:
    """The events of one answer of our engine, and when its tokens came."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._start_s = clock()
        self._end_s = self._start_s
        self._trace = Trace()
        self._emissions: list[Emission] = []

    def add(self, event: Event) -> None:
        """The first one begins it."""
        self._end_s = self._clock()
        if not self._trace.events:
            self._start_s = self._end_s
        self._trace.events.append(event)
        if isinstance(event, Committed):
            self._emissions.append(Emission(self._end_s - self._start_s, len(event.token_ids)))

    def answer(self) -> Answer:
        """What the events come to."""
        return _answer_of(self._trace, self._emissions, self._end_s - self._start_s)


def _answer_of(trace: Trace, emissions: list[Emission], total_s: float) -> Answer:
    failed = trace.first(RunFailed)
    return Answer(
        token_ids=trace.token_ids,
        text=trace.text,
        emissions=emissions,
        total_s=total_s,
        trace=trace,
        error=f"{failed.error}: {failed.message}" if failed else None,
    )


def weights_in_words(target: LoadedModel) -> str:
    """Number format and origin of a loaded target's weights."""
    dtype = str(target.dtype).removeprefix("torch.")
    packed = "the file's own" if target.weights == "file" else target.weights
    form = f"{packed}, the rest in {dtype}" if target.is_packed else dtype
    return f"{form}, {target.identity.note}" if target.identity.note else form
