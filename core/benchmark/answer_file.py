"""Answers on disk in FastChat's form, a question a line, each written whole or not at all."""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.benchmark.line_file import LineFile
from core.benchmark.measurement import Measurement, measurement_from_dict


class QuestionAnswers(NamedTuple):
    """A question's answers."""

    question_id: int
    choices: list[list[str]]
    """The texts of all turns, of each repeat."""
    measurements: list[Measurement]


class AnswerFile:
    """The file of one mode; knows which questions it holds."""

    def __init__(self, path: Path, model_id: str, settings: dict[str, Any], *, resume: bool):
        """`settings` decide the answers: a file made with others is not gone on with.

        Raises InvalidSettingError as `LineFile` does, and for lines of another kind.
        """
        self.path = path
        self.answered: dict[int, QuestionAnswers] = {}
        self._model_id = model_id
        self._file = LineFile(path, settings, resume=resume, option="--out-dir")
        for number, line in enumerate(self._file.lines, start=1):
            try:
                answers = _answers_of(line)
            except (KeyError, TypeError) as error:
                raise self._file.foreign_line(number) from error
            self.answered[answers.question_id] = answers

    def append(self, answers: QuestionAnswers) -> None:
        """Writes a question's answers through to the disk; see `LineFile.append`."""
        self._file.append(
            {
                "question_id": answers.question_id,
                "answer_id": secrets.token_hex(11),
                "model_id": self._model_id,
                "choices": [
                    {"index": index, "turns": turns} for index, turns in enumerate(answers.choices)
                ],
                "tstamp": time.time(),
                "measurements": [item.to_dict() for item in answers.measurements],
            }
        )
        self.answered[answers.question_id] = answers

    def measurements_of(self, question_ids: Sequence[int]) -> list[Measurement]:
        """Of those questions that are answered."""
        return [
            item
            for question_id in question_ids
            if question_id in self.answered
            for item in self.answered[question_id].measurements
        ]


def _answers_of(values: dict[str, Any]) -> QuestionAnswers:
    return QuestionAnswers(
        values["question_id"],
        [choice["turns"] for choice in values["choices"]],
        [measurement_from_dict(item) for item in values["measurements"]],
    )
