"""Answer files: FastChat's form, whole lines, and what resuming takes over."""

import json
from pathlib import Path

import pytest

from core.benchmark.answer_file import AnswerFile, QuestionAnswers
from core.benchmark.measurement import measure
from core.benchmark.questions import Question
from core.errors import InvalidSettingError
from tests.core.benchmark.scripted_runner import answer_of

SETTINGS = {"mode": "naive", "keep": ("head",)}


def answers(question_id: int) -> QuestionAnswers:
    question = Question(question_id, "chat", ("?", "?"))
    items = [measure(answer_of([1, 2]), "naive", question, turn) for turn in (1, 2)]
    return QuestionAnswers(question_id, [["first", "second"], ["third", "fourth"]], items)


def opened(path: Path, *, resume: bool = True, **changed: object) -> AnswerFile:
    return AnswerFile(path, "tiny-naive", {**SETTINGS, **changed}, resume=resume)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the answers to questions 1 and 2."""
    path = tmp_path / "new" / "tiny-naive.jsonl"
    file = opened(path, resume=False)
    file.append(answers(1))
    file.append(answers(2))
    return path


def test_a_line_is_what_fastchat_reads(path: Path) -> None:
    line = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert line["question_id"] == 1
    assert line["model_id"] == "tiny-naive"
    assert line["choices"] == [
        {"index": 0, "turns": ["first", "second"]},
        {"index": 1, "turns": ["third", "fourth"]},
    ]
    assert isinstance(line["answer_id"], str) and isinstance(line["tstamp"], float)


def test_resuming_knows_the_answers_and_their_numbers(path: Path) -> None:
    file = opened(path)
    assert file.answered == {1: answers(1), 2: answers(2)}
    assert file.measurements_of([2, 5]) == answers(2).measurements


@pytest.mark.parametrize("num_lost", [1, 2, 100])
def test_a_line_that_a_kill_cut_off_is_dropped_and_written_anew(path: Path, num_lost: int) -> None:
    path.write_bytes(path.read_bytes()[:-num_lost])
    file = opened(path)
    assert list(file.answered) == [1]
    file.append(answers(2))
    assert opened(path).answered == {1: answers(1), 2: answers(2)}


def test_an_existing_file_is_kept_without_resume(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InvalidSettingError, match="--resume"):
        opened(path, resume=False)
    assert path.read_bytes() == before


def test_a_file_of_other_settings_is_not_gone_on_with(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InvalidSettingError, match="other settings"):
        opened(path, keep=())
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ["{", "[]", '{"question_id": 3}', "7"])
def test_a_foreign_line_is_named_and_nothing_is_lost(path: Path, line: str) -> None:
    content = path.read_text(encoding="utf-8") + line + "\n"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidSettingError, match="line 3"):
        opened(path)
    assert path.read_text(encoding="utf-8") == content


def test_a_folder_in_place_of_the_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="cannot be used"):
        opened(tmp_path)
