"""The measurements of a comparison on disk, a line a task, written as they come."""

from pathlib import Path
from typing import Any

from core.benchmark.comparison import Task
from core.benchmark.line_file import LineFile
from core.benchmark.measurement import Measurement, measurement_from_dict

TaskKey = tuple[int, int]


class ResultFile:
    """Knows which tasks are measured."""

    def __init__(self, path: Path, settings: dict[str, Any], *, resume: bool):
        """Raises InvalidSettingError as `LineFile` does, and for lines of another kind."""
        self._file = LineFile(path, settings, resume=resume, option="--results")
        self._measured: dict[TaskKey, list[Measurement]] = {}
        for number, line in enumerate(self._file.lines, start=1):
            try:
                key = (line["question_id"], line["repeat"])
                # A task that was asked again after a failure has a later line, which counts.
                self._measured[key] = [measurement_from_dict(item) for item in line["measurements"]]
            except (KeyError, TypeError) as error:
                raise self._file.foreign_line(number) from error

    def measured(self, task: Task) -> list[Measurement] | None:
        """What the file holds of a task; None where it is to be asked, also after a failure."""
        measurements = self._measured.get((task.question.question_id, task.repeat))
        if measurements is None or any(item.error for item in measurements):
            return None
        return measurements

    def append(self, task: Task, measurements: list[Measurement]) -> None:
        """Writes the measurements of a task through to the disk."""
        self._file.append(
            {
                "question_id": task.question.question_id,
                "repeat": task.repeat,
                "measurements": [item.to_dict() for item in measurements],
            }
        )
