"""The traces of a mode's answers on disk, and for each question a table of their steps."""

from pathlib import Path
from typing import TYPE_CHECKING

from core.command_line import told_if_not_written
from core.errors import InvalidSettingError
from core.trace.file import save_trace

if TYPE_CHECKING:
    from core.benchmark.chat import KeptTrace


class TraceFolder:
    """LOG/MODEL_ID, with QUESTION-TURN.jsonl, or QUESTION-TURN-REPEAT.jsonl, and QUESTION.csv."""

    def __init__(self, path: Path):
        """Makes the folder; raises InvalidSettingError where it cannot."""
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSettingError(
                f"{path} cannot be made ({error.strerror}); give another --log-dir."
            ) from error

    def save(self, question_id: int, traces: list["KeptTrace"]) -> None:
        """Writes all traces of a question; raises StorageError where the disk is full."""
        from visualize.exports import export_csv

        for turn, repeat, trace in traces:
            name = f"{question_id}-{turn}" if repeat == 1 else f"{question_id}-{turn}-{repeat}"
            path = self._path / f"{name}.jsonl"
            with told_if_not_written(path):
                save_trace(trace, path)
        if traces:
            steps = [kept.trace for kept in traces]
            path = self._path / f"{question_id}.csv"
            with told_if_not_written(path):
                export_csv(steps, path, "steps")
