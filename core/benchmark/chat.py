"""Questions as chats under one mode: each turn is asked with the model's own answers before it."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from core.benchmark.answer_file import QuestionAnswers
from core.benchmark.comparison import MakePrompt, warm_up
from core.benchmark.measurement import Measurement, measure
from core.benchmark.meter import Meter
from core.benchmark.named_configs import marked
from core.benchmark.questions import Question
from core.benchmark.runners import EngineRunner, Runner
from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from core.engine import Engine
from core.loading.loading import load_target
from core.runtime.energy import find_energy_meter
from core.runtime.storage import Progress
from core.trace.file import Trace


class KeptTrace(NamedTuple):
    """The trace of one answer, and which one it is."""

    turn: int
    repeat: int
    """Both from 1."""
    trace: Trace


class Chat(NamedTuple):
    """A question with all its answers."""

    answers: QuestionAnswers
    traces: list[KeptTrace]


class ChatPlan(NamedTuple):
    """How questions are asked."""

    config: RunConfig
    num_repeats: int
    memory: SuffixMemory | None = None
    """Of all answers, those of other repeats among them; where the settings ask for one."""


class ChatDescription(NamedTuple):
    """What the loaded target decides."""

    dtype: str
    energy: str
    """What counts it, or why nothing does."""


class ChatWorker:
    """Implements `core.benchmark.executor.Worker`."""

    def __init__(self, plan: ChatPlan, progress: Progress):
        """Loads the model; raises SpecDecodesError."""
        target = load_target(plan.config, progress)
        self._engine = Engine(target, progress=progress)
        self._runners = [
            EngineRunner(
                self._engine, config, label=marked(config.mode, config), memory=plan.memory
            )
            for config in _repeated(plan.config, plan.num_repeats)
        ]
        self._meter = Meter(find_energy_meter(target.device))
        dtype = str(target.dtype).removeprefix("torch.")
        self.description = ChatDescription(dtype, self._meter.energy.description)
        self._is_warm = False

    def work(self, question: Question) -> Chat:
        """All repeats of a question; a failure ends the repeat that it is in.

        Before the first one a short answer is given without being measured. Raises
        DrafterUnavailableError where that fails.
        """
        if not self._is_warm:
            warm_up(self._runners[:1], self._engine.chat_prompt)
            self._is_warm = True
        return answer_question(self._runners, self._engine.chat_prompt, question, self._meter)


def _repeated(config: RunConfig, num_repeats: int) -> list[RunConfig]:
    """The same settings with a seed each, counted up: so that sampled answers differ."""
    return [
        dataclasses.replace(
            config, sampling=dataclasses.replace(config.sampling, seed=config.sampling.seed + place)
        )
        for place in range(num_repeats)
    ]


def answer_question(
    runners: Sequence[Runner],
    make_prompt: MakePrompt,
    question: Question,
    meter: Meter,
) -> Chat:
    """All turns by each runner in turn, which is a repeat, with its own answers before each."""
    choices: list[list[str]] = []
    measurements: list[Measurement] = []
    traces: list[KeptTrace] = []
    for repeat, runner in enumerate(runners, start=1):
        messages: list[dict[str, str]] = []
        texts: list[str] = []
        for turn, text in enumerate(question.turns, start=1):
            messages.append({"role": "user", "content": text})
            answer = meter.answer(runner, make_prompt(messages))
            measurements.append(measure(answer, runner.label, question, turn, repeat))
            if answer.trace is not None:
                traces.append(KeptTrace(turn, repeat, answer.trace))
            if answer.error is not None:
                break
            messages.append({"role": "assistant", "content": answer.text})
            texts.append(answer.text)
        choices.append(texts)
    return Chat(QuestionAnswers(question.question_id, choices, measurements), traces)
