"""The question runner on a tiny model."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.benchmark import run_mtbench
from core.benchmark.runners import EngineRunner
from core.trace.events import RunStarted
from core.trace.file import load_trace
from tests.core.benchmark.scripted_runner import interrupt_after
from tests.tiny_folder import byte_tokenizer
from visualize.exports import read_csv

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


def test_a_question_has_a_table_of_its_steps_beside_its_traces(
    run_questions: Command, tmp_path: Path
) -> None:
    assert run_questions("--mode", "ngram", "--limit", "1") == 0
    folder = tmp_path / "log" / "target-ngram"
    assert {path.name for path in folder.iterdir()} == {"1-1.jsonl", "1-2.jsonl", "1.csv"}
    traces = [load_trace(folder / f"1-{turn}.jsonl") for turn in (1, 2)]
    assert read_csv(folder / "1.csv", "steps")["run_id"].to_list() == [
        trace.run_id for trace in traces for _ in range(trace.stats.num_steps)
    ]


def test_repeats_are_choices_with_seeds_of_their_own(
    run_questions: Command, tmp_path: Path
) -> None:
    words = ["--mode", "ngram", "--limit", "1", "--do-sample", "--temp", "1.5", "--seed", "4"]
    assert run_questions(*words, "--repeats", "2") == 0
    (line,) = lines_of(tmp_path, "ngram")
    first, second = line["choices"]  # type: ignore[misc]
    assert (first["index"], second["index"]) == (0, 1)
    assert len(first["turns"]) == len(second["turns"]) == 2
    assert first["turns"] != second["turns"]
    names = {path.name for path in (tmp_path / "log" / "target-ngram").glob("*.jsonl")}
    assert names == {"1-1.jsonl", "1-2.jsonl", "1-1-2.jsonl", "1-2-2.jsonl"}
    seeds = [
        load_trace(tmp_path / "log" / "target-ngram" / name).first(RunStarted).seed  # type: ignore[union-attr]
        for name in ("1-1.jsonl", "1-1-2.jsonl")
    ]
    assert seeds == [4, 5]


def test_the_log_tells_how_far_it_is_where_it_is_asked_to(
    common: list[str], tmp_path: Path
) -> None:
    words = ["--mode", "naive", "--limit", "2", "--out-dir", str(tmp_path / "out"), *common]
    command = [sys.executable, "-m", "core.benchmark.run_mtbench", *words]
    environment = {**os.environ, "LOGLEVEL": "info"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "question 1 (chat); 1 of 2 done, " in done.stderr and " s left" in done.stderr


def test_a_log_level_that_is_none_is_one_sentence(
    run_questions: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOGLEVEL", "loud")
    assert run_questions("--mode", "naive") == 2
    printed = capsys.readouterr()
    assert "LOGLEVEL is 'loud'; give one of" in printed.err and printed.err.count("\n") == 1


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


def test_answers_under_a_lossy_rule_are_named_so(
    run_questions: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled = ["--do-sample", "--temp", "0.7", "--accept", "typical", "--limit", "1"]
    assert run_questions("--mode", "ngram", *sampled) == 0
    assert lines_of(tmp_path, "ngram-lossy-typical")[0]["model_id"] == "target-ngram-lossy-typical"
    assert "ngram, lossy (typical)" in capsys.readouterr().out


def test_later_questions_look_up_in_the_answers_before_them(
    run_questions: Command, tmp_path: Path
) -> None:
    path = tmp_path / "memory.jsonl"
    assert run_questions("--mode", "ngram", "--memory", str(path)) == 0
    traces = (tmp_path / "log" / "target-ngram").glob("*.jsonl")
    starts = [load_trace(trace).first(RunStarted) for trace in traces]
    seen = sorted(start.memory["num_answers"] for start in starts if start and start.memory)
    # The answer that warms up is one of them.
    assert seen == list(range(1, len(seen) + 1))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2 + len(seen)


def test_a_memory_is_not_spread(run_questions: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_questions("--mode", "ngram", "--memory", "--ray") == 2
    assert "memory is of one process" in capsys.readouterr().err
