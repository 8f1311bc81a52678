"""Runs every runner over every question, interleaved, so that a slow minute meets all alike."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from core.benchmark.measurement import Answer, Measurement, measure
from core.benchmark.questions import Question
from core.errors import DrafterUnavailableError

if TYPE_CHECKING:
    from core.benchmark.meter import Meter
    from core.benchmark.runners import Runner
    from core.decoding.run_start import Prompt

PLAIN = "naive"
_WARM_UP_TEXT = "Say hello."

Messages = list[dict[str, str]]
MakePrompt = Callable[[Messages], "Prompt"]


class Task(NamedTuple):
    """What is measured in one place: all turns of a question by all runners, plain decoding too.

    So a ratio never sets one machine against another, however the tasks are spread.
    """

    question: Question
    repeat: int
    """From 1."""
    num_turns_before: int
    """In the tasks before it; decides who answers first."""


def tasks_of(questions: Sequence[Question], repeats: int = 1) -> Iterator[Task]:
    """All tasks of a comparison in their order."""
    num_turns = 0
    for repeat in range(1, repeats + 1):
        for question in questions:
            yield Task(question, repeat, num_turns)
            num_turns += len(question.turns)


def warm_up(runners: Sequence["Runner"], make_prompt: MakePrompt) -> None:
    """One unmeasured answer of each; raises DrafterUnavailableError for one that cannot run.

    What is asked is short and none of the questions: one that fails is a row and ends nothing.
    """
    prompt = make_prompt([{"role": "user", "content": _WARM_UP_TEXT}])
    for runner in runners:
        error = runner.answer(prompt).error
        if error is not None:
            raise DrafterUnavailableError(
                f"{runner.label} fails at its first answer ({error.rstrip('.')}); leave it out or "
                "change its settings."
            )


def compare(
    runners: Sequence["Runner"], task: Task, make_prompt: MakePrompt, meter: "Meter"
) -> list[Measurement]:
    """The measurements of a task, turn by turn; one of the runners is labelled PLAIN.

    All runners answer the same prompt: later turns hold plain decoding's answers. Who answers
    first changes from turn to turn.
    """
    question = task.question
    messages: Messages = []
    measurements: list[Measurement] = []
    for turn, text in enumerate(question.turns, start=1):
        messages.append({"role": "user", "content": text})
        prompt = make_prompt(messages)
        answers = _answers(runners, prompt, meter, first=task.num_turns_before + turn - 1)
        plain = answers[PLAIN]
        measurements += [
            measure(
                answers[runner.label],
                runner.label,
                question,
                turn,
                task.repeat,
                plain if runner.gives_plain_text else None,
            )
            for runner in runners
        ]
        if plain.error is not None:
            break  # the next turn has nothing to stand on
        messages.append({"role": "assistant", "content": plain.text})
    return measurements


def _answers(
    runners: Sequence["Runner"], prompt: "Prompt", meter: "Meter", first: int
) -> dict[str, Answer]:
    start = first % len(runners)
    order = [*runners[start:], *runners[:start]]
    return {runner.label: meter.answer(runner, prompt) for runner in order}


def failed_task(task: Task, labels: Sequence[str], error: str) -> list[Measurement]:
    """The measurements of a task that nobody answered: a failure of each runner."""
    return [measure(Answer(error=error), label, task.question, 1, task.repeat) for label in labels]
