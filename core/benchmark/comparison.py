"""Runs every runner over every question, interleaved, so that a slow minute meets all alike."""

from collections.abc import Callable, Iterator, Sequence

from core.benchmark.measurement import Answer, Measurement, measure
from core.benchmark.questions import Question
from core.benchmark.runners import Runner
from core.engine import Prompt
from core.errors import DrafterUnavailableError

PLAIN = "naive"

Messages = list[dict[str, str]]
MakePrompt = Callable[[Messages], Prompt]


def warm_up(runners: Sequence[Runner], prompt: Prompt) -> None:
    """One unmeasured answer of each; raises DrafterUnavailableError for one that cannot run."""
    for runner in runners:
        error = runner.answer(prompt).error
        if error is not None:
            raise DrafterUnavailableError(
                f"{runner.label} fails at its first answer ({error.rstrip('.')}); leave it out or "
                "change its settings."
            )


def compare(
    runners: Sequence[Runner],
    questions: Sequence[Question],
    make_prompt: MakePrompt,
    repeats: int = 1,
) -> Iterator[list[Measurement]]:
    """The measurements of one turn at a time; one of the runners is labelled PLAIN.

    All runners answer the same prompt: later turns hold plain decoding's answers. Who answers
    first changes from turn to turn.
    """
    num_turns = 0
    for repeat in range(1, repeats + 1):
        for question in questions:
            messages: Messages = []
            for turn, text in enumerate(question.turns, start=1):
                messages.append({"role": "user", "content": text})
                prompt = make_prompt(messages)
                answers = _answers(runners, prompt, first=num_turns)
                num_turns += 1
                plain = answers[PLAIN]
                yield [
                    measure(
                        answers[runner.label],
                        runner.label,
                        question,
                        turn,
                        repeat,
                        plain if runner.gives_plain_text else None,
                    )
                    for runner in runners
                ]
                if plain.error is not None:
                    break  # the next turn has nothing to stand on
                messages.append({"role": "assistant", "content": plain.text})


def _answers(runners: Sequence[Runner], prompt: Prompt, first: int) -> dict[str, Answer]:
    start = first % len(runners)
    order = [*runners[start:], *runners[:start]]
    return {runner.label: runner.answer(prompt) for runner in order}
