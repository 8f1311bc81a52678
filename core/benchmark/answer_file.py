"""Answers on disk in FastChat's form, a question a line, each written whole or not at all."""

import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.benchmark.measurement import Measurement, measurement_from_dict
from core.errors import InvalidSettingError, StorageError


class QuestionAnswers(NamedTuple):
    """A question's answers, one a turn."""

    question_id: int
    turns: list[str]
    measurements: list[Measurement]


class AnswerFile:
    """The file of one mode; knows which questions it holds."""

    def __init__(self, path: Path, model_id: str, settings: dict[str, Any], *, resume: bool):
        """`settings` decide the answers: a file made with others is not gone on with.

        Raises InvalidSettingError for a file that exists already, unless `resume` is on, and for
        one that cannot be read or has other settings.
        """
        self.path = path
        self.answered: dict[int, QuestionAnswers] = {}
        self._model_id = model_id
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                if not resume:
                    raise InvalidSettingError(
                        f"{path} exists already; give --resume to go on with it, or another "
                        "--out-dir."
                    )
                self._read()
        except OSError as error:
            raise InvalidSettingError(
                f"{path} cannot be used ({error.strerror}); give another --out-dir."
            ) from error

    def _read(self) -> None:
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:end].splitlines(), start=1):
            try:
                values = json.loads(line)
                answers = _answers_of(values)
                settings = values["settings"]
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise InvalidSettingError(
                    f"{self.path}, line {number}: it is no answer that this command wrote; "
                    "give another --out-dir."
                ) from error
            if settings != self._settings:
                raise InvalidSettingError(
                    f"{self.path} was made with other settings; give those again, or another "
                    "--out-dir."
                )
            self.answered[answers.question_id] = answers
        os.truncate(self.path, end)  # a line that a kill cut off is answered anew

    def append(self, answers: QuestionAnswers) -> None:
        """Writes a question's answers through to the disk; raises StorageError where it is full."""
        line = {
            "question_id": answers.question_id,
            "answer_id": secrets.token_hex(11),
            "model_id": self._model_id,
            "choices": [{"index": 0, "turns": answers.turns}],
            "tstamp": time.time(),
            "settings": self._settings,
            "measurements": [item.to_dict() for item in answers.measurements],
        }
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"{self.path} takes no more ({error.strerror}); make room and give --resume, which "
                "asks again what was not written."
            ) from error
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
        values["choices"][0]["turns"],
        [measurement_from_dict(item) for item in values["measurements"]],
    )
