"""The question runner on a tiny model."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.benchmark import run_mtbench
from core.benchmark.runners import EngineRunner
from core.events import RunStarted
from core.trace import load_trace
from tests.core.benchmark.scripted_runner import interrupt_after
from tests.tiny_folder import byte_tokenizer

Command = Callable[..., int]


@pytest.fixture
def run_questions(common: list[str], tmp_path: Path) -> Command:
    def run(*words: str) -> int:
        folders = ["--out-dir", str(tmp_path / "out"), "--log-dir", str(tmp_path / "log")]
        return run_mtbench.main([*common, *folders, *words])

    return run


def lines_of(tmp_path: Path, mode: str) -> list[dict[str, object]]:
    text = (tmp_path / "out" / f"target-{mode}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_later_turn_holds_the_models_own_answer(run_questions: Command, tmp_path: Path) -> None:
    assert run_questions("--mode", "ngram") == 0
    line = lines_of(tmp_path, "ngram")[0]
    answer = line["choices"][0]["turns"][0]  # type: ignore[index]
    started = load_trace(tmp_path / "log" / "target-ngram" / "1-2.jsonl").first(RunStarted)
    assert started is not None
    chat = f"user: ab ab ab\nassistant: {answer}\nuser: cd\nassistant: "
    assert answer and started.prompt_token_ids == byte_tokenizer().encode(chat)


def test_modes_have_files_of_their_own_with_the_same_answers(
    run_questions: Command, tmp_path: Path
) -> None:
    assert run_questions("--mode", "naive") == 0
    assert run_questions("--mode", "ngram") == 0
    plain, ngram = lines_of(tmp_path, "naive"), lines_of(tmp_path, "ngram")
    assert [line["question_id"] for line in plain] == [1, 2, 3]
    assert [line["choices"] for line in plain] == [line["choices"] for line in ngram]


def test_an_interrupt_keeps_whole_questions_and_resume_asks_the_rest_once(
    run_questions: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with interrupt_after(3):  # one of warming up, and two turns
        assert run_questions("--mode", "naive") == 130
    assert "1 of 3 questions" in capsys.readouterr().out
    assert [line["question_id"] for line in lines_of(tmp_path, "naive")] == [1]
    assert run_questions("--mode", "naive", "--resume") == 0
    assert "3 of 3 questions" in capsys.readouterr().out
    assert [line["question_id"] for line in lines_of(tmp_path, "naive")] == [1, 2, 3]


def test_resuming_what_is_complete_asks_nothing_and_tells_the_summary_again(
    run_questions: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_questions("--mode", "ngram") == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(EngineRunner, "answer", None)
    assert run_questions("--mode", "ngram", "--resume") == 0
    assert capsys.readouterr().out == first


def test_other_settings_do_not_go_on_with_a_file(
    run_questions: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_questions("--mode", "naive", "--limit", "1") == 0
    capsys.readouterr()
    assert run_questions("--mode", "naive", "--resume", "--do-sample", "--temp", "0.5") == 2
    printed = capsys.readouterr()
    assert "other settings" in printed.err and printed.err.count("\n") == 1


def test_a_question_that_fails_is_told_left_out_and_asked_again(
    run_questions: Command,
    questions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    too_long = {"question_id": 2, "category": "edit", "turns": ["x" * 600]}
    lines = questions.read_text(encoding="utf-8").splitlines()
    lines[1] = json.dumps(too_long)
    questions.write_text("\n".join(lines), encoding="utf-8")
    assert run_questions("--mode", "naive") == 1
    printed = capsys.readouterr()
    assert "question 2" in printed.err and "2 of 3 questions" in printed.out
    assert [line["question_id"] for line in lines_of(tmp_path, "naive")] == [1, 3]


def test_the_original_names_of_target_and_draft_are_known(
    tiny_home: Path, questions: Path, tmp_path: Path
) -> None:
    words = ["-llm", str(tiny_home / "target"), "-ssm", str(tiny_home / "draft")]
    more = ["--mode", "sd-classic", "--questions", str(questions), "--limit", "1"]
    out = ["--out-dir", str(tmp_path / "out"), "--max-new-tokens", "8", "--dtype", "float32"]
    assert run_mtbench.main([*words, *more, *out]) == 0
    settings = lines_of(tmp_path, "sd-classic")[0]["settings"]
    assert settings["draft"] == str(tiny_home / "draft")  # type: ignore[index]


@pytest.mark.slow
def test_a_kill_loses_no_finished_question_and_doubles_none(
    run_questions: Command, common: list[str], questions: Path, tmp_path: Path
) -> None:
    lines = [
        {"question_id": number, "category": "chat", "turns": [f"go {number}", "on", "and on"]}
        for number in range(1, 31)
    ]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    words = [*common, "--mode", "naive", "--out-dir", str(tmp_path / "out")]
    path = tmp_path / "out" / "target-naive.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "core.benchmark.run_mtbench", *words])
    while not (path.exists() and path.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = path.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert 3 <= kept.count(b"\n") < 30
    assert run_questions("--mode", "naive", "--resume") == 0
    assert path.read_bytes().startswith(kept)
    assert [line["question_id"] for line in lines_of(tmp_path, "naive")] == list(range(1, 31))
