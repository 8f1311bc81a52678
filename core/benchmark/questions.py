"""Questions of a benchmark: JSON lines with question_id, category and turns, as MT-Bench has them.

Spec-Bench's file (Xia et al. 2024) has this form too. Its six tasks are five categories of its own
and MT-Bench's eight, which count as one.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import InvalidSettingError, shown
from core.runtime.text_files import numbered_lines, read_text

_SPEC_BENCH_TASKS = {"translation", "summarization", "qa", "math_reasoning", "rag"}
_MT_BENCH_TASK = "mt_bench"


class Question(NamedTuple):
    """What a user asks, turn by turn."""

    question_id: int
    category: str
    turns: tuple[str, ...]


def load_questions(path: Path) -> list[Question]:
    """All questions of a file; other keys, such as MT-Bench's references, are left alone.

    Raises InvalidSettingError for a file that cannot be read, and names the first bad line.
    """
    text = read_text(path, "give a file of questions, one JSON object a line")
    questions: list[Question] = []
    known: set[int] = set()
    for number, line in numbered_lines(text):
        question = _parse(line, f"{path}, line {number}")
        if question.question_id in known:
            raise InvalidSettingError(
                f"{path}, line {number}: question_id {question.question_id} is there already; "
                "give each question its own."
            )
        known.add(question.question_id)
        questions.append(question)
    if not questions:
        raise InvalidSettingError(f"{path} has no questions; give one JSON object a line.")
    return _by_task(questions)


def _by_task(questions: list[Question]) -> list[Question]:
    """Spec-Bench's questions under its tasks; those of all other files as they are."""
    if not {question.category for question in questions} >= _SPEC_BENCH_TASKS:
        return questions
    return [
        question
        if question.category in _SPEC_BENCH_TASKS
        else question._replace(category=_MT_BENCH_TASK)
        for question in questions
    ]


def _parse(line: str, place: str) -> Question:
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidSettingError(
            f"{place}: it is not JSON; give an object with question_id, category and turns."
        ) from error
    if not isinstance(values, dict):
        raise InvalidSettingError(
            f"{place}: it is no JSON object; give one with question_id, category and turns."
        )
    question_id, category, turns = (
        values.get(name) for name in ("question_id", "category", "turns")
    )
    if not isinstance(question_id, int) or isinstance(question_id, bool):
        raise InvalidSettingError(
            f"{place}: question_id is {shown(question_id)}; give a whole number."
        )
    if not isinstance(category, str) or not category.strip():
        raise InvalidSettingError(f"{place}: category is {shown(category)}; give a name.")
    if (
        not isinstance(turns, list)
        or not turns
        or not all(isinstance(turn, str) and turn.strip() for turn in turns)
    ):
        raise InvalidSettingError(f"{place}: turns is no list of texts; give at least one text.")
    return Question(question_id, category, tuple(turns))


def pick_questions(
    questions: list[Question], categories: tuple[str, ...] = (), limit: int | None = None
) -> list[Question]:
    """Some of the questions: those of `categories` (empty takes all), at most `limit` of them.

    The categories take turns, so that a few questions still tell of all. Raises
    InvalidSettingError for an unknown category and for a limit below 1.
    """
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.category, []).append(question)
    for category in categories:
        if category not in groups:
            raise InvalidSettingError(
                f"there is no category {shown(category)}; give some of {', '.join(groups)}."
            )
    if limit is not None and limit < 1:
        raise InvalidSettingError(f"limit is {limit}; give a whole number of at least 1.")
    chosen = [groups[name] for name in groups if not categories or name in categories]
    longest = max(map(len, chosen))
    in_turn = [group[index] for index in range(longest) for group in chosen if index < len(group)]
    return in_turn[:limit]
