"""The file of a comparison's measurements: what resuming takes over, and what it asks again."""

import dataclasses
import json
from pathlib import Path

import pytest

from core.benchmark.comparison import Task
from core.benchmark.measurement import Answer, Measurement, Resources, measure
from core.benchmark.questions import Question
from core.benchmark.result_file import ResultFile
from core.errors import InvalidSettingError
from tests.core.benchmark.scripted_runner import answer_of

FIRST, SECOND = (Task(Question(number, "chat", ("?",)), 1, number) for number in (1, 2))


def measured(task: Task, error: str | None = None) -> list[Measurement]:
    answer = Answer(error=error) if error else answer_of([1, 2])
    answer = dataclasses.replace(answer, resources=Resources(5, None, 0.5))
    return [measure(answer, "naive", task.question, 1, task.repeat)]


def opened(path: Path, *, resume: bool = True, **settings: object) -> ResultFile:
    return ResultFile(path, settings, resume=resume)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "results.jsonl"
    opened(path, resume=False).append(FIRST, measured(FIRST))
    return path


def test_what_was_measured_is_known_and_the_rest_is_to_be_asked(path: Path) -> None:
    file = opened(path)
    assert file.measured(FIRST) == measured(FIRST)
    assert file.measured(SECOND) is None
    assert file.measured(FIRST._replace(repeat=2)) is None


def test_a_task_with_a_failure_is_asked_again_and_its_later_line_counts(path: Path) -> None:
    opened(path).append(SECOND, measured(SECOND, error="broken"))
    file = opened(path)
    assert file.measured(SECOND) is None
    file.append(SECOND, measured(SECOND))
    assert opened(path).measured(SECOND) == measured(SECOND)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3, "nothing is taken back"


def test_a_line_that_a_kill_cut_off_is_measured_anew(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"question_id": 2, "rep')
    file = opened(path)
    assert file.measured(FIRST) is not None and file.measured(SECOND) is None
    assert path.read_bytes() == whole


def test_other_settings_and_foreign_lines_are_refused(path: Path) -> None:
    with pytest.raises(InvalidSettingError, match=r"other settings; .* another --results"):
        opened(path, modes="ngram")
    with pytest.raises(InvalidSettingError, match="exists already; give --resume"):
        opened(path, resume=False)
    line = {**json.loads(path.read_text(encoding="utf-8")), "measurements": [{}]}
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(InvalidSettingError, match="line 1: no command of this kind"):
        opened(path)
