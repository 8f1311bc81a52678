"""A disk that takes no more: the answer is still given, what was there stays, and it is told."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.runs.archive import Archive
from app.runs.run import Run
from app.runs.run_keeper import RunKeeper, keep_interrupted
from app.runs.session import ChatSession
from core.benchmark.answer_file import AnswerFile, QuestionAnswers
from core.errors import StorageError
from core.generate import main
from tests.app.helpers import form_values, handlers_on
from tests.app.runs.test_archive import VISITOR, trace_of
from tests.app.scripted_engine import ScriptedEngine
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model

FULL = OSError(errno.ENOSPC, "No space left on device")


def full(*args: Any, **named: Any) -> None:
    raise FULL


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("option", ["--trace", "--csv"])
def test_an_answer_is_given_though_its_file_does_not_fit(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = save_tiny_model(tmp_path / "target")
    path = tmp_path / "run"
    (tmp_path / "run.part" if option == "--trace" else path).symlink_to("/dev/full")
    words = ["--prompt", "hello", "--target", target, "--max-new-tokens", "8", "--json"]
    capsys.readouterr()
    assert main([*words, option, str(path)]) == 1
    printed = capsys.readouterr()
    assert '"num_tokens": 8' in printed.out
    assert printed.err.count("\n") == 1
    assert "cannot be written (No space left on device); make room" in printed.err


@pytest.mark.slow
def test_a_limit_of_the_system_on_file_sizes_is_told(tmp_path: Path) -> None:
    target = save_tiny_model(tmp_path / "target")
    words = f"--prompt hello --target {target} --no-compile --max-new-tokens 200"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 8; {sys.executable} -m core.generate {words} --trace run.jsonl"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout
    assert "cannot be written (File too large)" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run.jsonl").exists()


def test_an_answer_on_the_page_is_whole_though_it_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    session.visitor = VISITOR
    monkeypatch.setattr("app.runs.archive.save_trace", full)
    list(handlers.ask(session, "Hi", "", form_values(max_new_tokens=9)))
    (record,) = session.runs
    assert record.num_tokens == 9
    assert record.status_text == (
        "Reached the token limit; it could not be kept: No space left on device"
    )
    monkeypatch.undo()
    assert handlers.archive.runs(VISITOR) == []
    assert keep_interrupted(handlers.archive) == 1  # once there is room
    (kept,) = handlers.archive.runs(VISITOR)
    assert (kept.run_id, kept.num_tokens, kept.outcome) == (record.run_id, 9, "length")


def test_a_disk_that_fills_in_the_middle_of_a_run_keeps_what_fitted(tmp_path: Path) -> None:
    archive, trace = Archive(tmp_path), trace_of(num_tokens=30)
    keeper = RunKeeper(archive, VISITOR, "run-number-1")
    record = Run("run-number-1", "Hi", "ngram")
    for number, event in enumerate(trace.events):
        if number == len(trace.events) // 2:
            keeper._file.write = full  # type: ignore[union-attr, method-assign]
        keeper.add(event)
        record.add(event)
    assert keep_interrupted(archive) == 1
    (kept,) = archive.runs(VISITOR)
    assert 0 < kept.num_tokens < 30 and kept.outcome == "cut off"


def test_answers_of_a_benchmark_that_do_not_fit_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AnswerFile(tmp_path / "answers.jsonl", "m", {}, resume=False)
    file.append(QuestionAnswers(1, ["one"], []))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"takes no more .* give --resume"):
            file.append(QuestionAnswers(2, ["two"], []))
    assert list(file.answered) == [1]
