"""One question as a chat: each turn is asked with the model's own answers before it."""

from collections.abc import Callable

from core.benchmark.answer_file import QuestionAnswers
from core.benchmark.comparison import MakePrompt
from core.benchmark.measurement import Answer, Measurement, measure
from core.benchmark.questions import Question
from core.benchmark.runners import Runner

SaveAnswer = Callable[[Question, int, Answer], None]


def answer_question(
    runner: Runner,
    make_prompt: MakePrompt,
    question: Question,
    save: SaveAnswer,
) -> QuestionAnswers:
    """All turns, each with the model's own answers before it; a failure ends them."""
    messages: list[dict[str, str]] = []
    texts: list[str] = []
    measurements: list[Measurement] = []
    for turn, text in enumerate(question.turns, start=1):
        messages.append({"role": "user", "content": text})
        answer = runner.answer(make_prompt(messages))
        save(question, turn, answer)
        measurements.append(measure(answer, runner.label, question, turn))
        if answer.error is not None:
            break
        messages.append({"role": "assistant", "content": answer.text})
        texts.append(answer.text)
    return QuestionAnswers(question.question_id, texts, measurements)
