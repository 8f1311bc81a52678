"""Runners that answer by script, plain traces to hold them against, and an interrupt."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from core.benchmark.measurement import Answer, Emission
from core.benchmark.runners import Facts, OneAtATime
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.runtime.peak_memory import MemoryGauge
from core.trace.events import Event
from core.trace.file import Trace
from tests.scripted import ScriptedBackend, following, run_loop

VOCAB_SIZE = 20


def plain_trace(token_ids: list[int], **settings: object) -> Trace:
    """Plain decoding of a target that emits just these ids."""
    backend = ScriptedBackend(following([0, *token_ids], VOCAB_SIZE), VOCAB_SIZE)
    events, _ = run_loop(backend, None, [0], max_new_tokens=len(token_ids), **settings)
    return Trace(events)


def answer_of(token_ids: list[int], seconds_per_token: float = 1.0) -> Answer:
    """An answer with a token at a time, the first one after two seconds."""
    emissions = [Emission(2.0 + seconds_per_token * place, 1) for place in range(len(token_ids))]
    return Answer(
        token_ids=token_ids,
        text=" ".join(map(str, token_ids)),
        emissions=emissions,
        total_s=emissions[-1].t_s,
        trace=plain_trace(token_ids),
    )


class ScriptedRunner(OneAtATime):
    """Implements `core.benchmark.runners.Runner`; remembers its prompts and who was asked when."""

    gives_plain_text = True
    facts = Facts("none", "none", "by script")
    memory: MemoryGauge | None = None

    def __init__(
        self, label: str, answer: Callable[[Prompt], Answer], order: list[str] | None = None
    ):
        self.label = label
        self.prompts: list[Prompt] = []
        self._answer = answer
        self._order = order if order is not None else []

    def answer(self, prompt: Prompt) -> Answer:
        self.prompts.append(prompt)
        self._order.append(self.label)
        return self._answer(prompt)


def text_prompt(messages: list[dict[str, str]]) -> Prompt:
    """A prompt whose text shows the whole chat."""
    text = "".join(f"{message['role']}: {message['content']}\n" for message in messages)
    return Prompt(text, [1])


@contextmanager
def interrupt_after(num_answers: int) -> Iterator[None]:
    """Raises an interrupt in the middle of the engine's answer that comes after so many."""
    run, num_runs = Engine.run, 0

    def interrupted(*args: object, **kwargs: object) -> Iterator[Event]:
        nonlocal num_runs
        num_runs += 1
        for place, event in enumerate(run(*args, **kwargs)):  # type: ignore[arg-type]
            if num_runs > num_answers and place == 9:
                raise KeyboardInterrupt
            yield event

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "run", interrupted)
        yield
