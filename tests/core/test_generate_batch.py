"""Many prompts on the command line."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import generate_batch
from core.engine import Engine
from core.trace.events import Event, RunStarted
from core.trace.file import Trace, load_trace


def options(home: Path, prompts: Path, *more: str) -> list[str]:
    return [
        "--target", str(home / "target"), "--dtype", "float32", "--no-compile",
        "--max-new-tokens", "6", "--prompts", str(prompts), *more,
    ]  # fmt: skip


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffThe fox\n\nA dog\u2028B\r\nJumps\n".encode())
    return path


def test_each_prompt_is_answered_and_traced(
    tiny_home: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = tmp_path / "traces"
    arguments = options(tiny_home, prompts, "--mode", "ngram", "--size", "2")
    assert generate_batch.main([*arguments, "--traces", str(traces)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((item["index"], item["line"], item["prompt"]) for item in answers) == [
        (0, 1, "The fox"),
        (1, 3, "A dog\u2028B"),
        (2, 4, "Jumps"),
    ]
    for item in answers:
        assert item["error"] is None and 0 < item["num_tokens"] <= 6
        assert load_trace(traces / f"{item['index']}.jsonl").text == item["text"]


def test_answers_go_to_a_file(
    tiny_home: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert generate_batch.main(options(tiny_home, prompts, "--out", str(out))) == 0
    assert capsys.readouterr().out == ""
    assert len(out.read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "more", "sentence"),
    [
        (b"", (), "has no text; give a file with a prompt a line"),
        (b"\xff\xfe\x00", (), "is UTF-16 text; save it as UTF-8, or give a file with a prompt"),
        (b"a\n\xff", (), "line 2: it is not UTF-8 text (byte 0xFF)"),
        (b"Fox\n", ("--size", "0"), "the batch size is 0; give a number from 1 to 256"),
    ],
)
def test_bad_input_is_one_sentence(
    content: bytes,
    more: tuple[str, ...],
    sentence: str,
    tiny_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    assert generate_batch.main(options(tiny_home, path, *more)) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err and "Traceback" not in printed.err and printed.out == ""


def test_a_missing_file_is_one_sentence(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate_batch.main(options(tiny_home, tmp_path / "none.txt")) == 2
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_prompt_that_does_not_fit_fails_with_its_line_and_the_others_go_on(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"Fox\n\n" + b"Fox " * 900 + b"\nDog\n")
    assert generate_batch.main(options(tiny_home, path, "--size", "2")) == 1
    printed = capsys.readouterr()
    answers = {item["line"]: item for item in map(json.loads, printed.out.splitlines())}
    assert {line: item["finish_reason"] for line, item in answers.items()} == {
        1: "length", 3: "failed", 4: "length",
    }  # fmt: skip
    assert "and the model's context holds 512; shorten the prompt" in answers[3]["error"]
    assert printed.err == f"line 3 failed: {answers[3]['error']}\n"


def test_an_interrupted_batch_writes_what_has_begun_and_says_so(
    tiny_home: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    begin = Engine.run_batch

    def interrupted(*arguments: Any, **more: Any) -> Iterator[tuple[int, Event]]:
        for number, pair in enumerate(begin(*arguments, **more)):
            if number == 9:
                signal.raise_signal(signal.SIGINT)
            yield pair

    monkeypatch.setattr(Engine, "run_batch", interrupted)
    more = ("--size", "2", "--max-new-tokens", "60")
    assert generate_batch.main(options(tiny_home, prompts, *more)) == 130
    printed = capsys.readouterr()
    answers = [json.loads(line) for line in printed.out.splitlines()]
    assert [item["finish_reason"] for item in answers] == ["stopped"] * 2
    assert printed.err == "stopped; 2 of 3 answers are written\n"


def test_answers_of_a_batch_are_remembered_on_disk(
    tiny_home: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory, traces = tmp_path / "memory.jsonl", tmp_path / "traces"
    arguments = options(tiny_home, prompts, "--mode", "ngram", "--size", "2")
    arguments += ["--memory", str(memory), "--traces", str(traces)]
    for number in range(2):
        assert generate_batch.main(arguments) == 0
        seen = sorted(remembered(load_trace(path)) for path in traces.iterdir())
        assert seen[:2] == [3 * number] * 2 and seen[2] > 3 * number
    answers = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(answers[:3]) == sorted(answers[3:])
    assert len(memory.read_text(encoding="utf-8").splitlines()) == 7


def remembered(trace: Trace) -> int:
    started = trace.first(RunStarted)
    assert started is not None and started.memory is not None
    return int(started.memory["num_answers"])
