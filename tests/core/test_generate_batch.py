"""Many prompts on the command line."""

import json
from pathlib import Path

import pytest

from core import generate_batch
from core.trace import load_trace


def options(home: Path, prompts: Path, *more: str) -> list[str]:
    return [
        "--target", str(home / "target"), "--dtype", "float32", "--no-compile",
        "--max-new-tokens", "6", "--prompts", str(prompts), *more,
    ]  # fmt: skip


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("The fox\n\nA dog\r\nJumps\n", encoding="utf-8")
    return path


def test_each_prompt_is_answered_and_traced(
    tiny_home: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = tmp_path / "traces"
    arguments = options(tiny_home, prompts, "--mode", "ngram", "--size", "2")
    assert generate_batch.main([*arguments, "--traces", str(traces)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((item["index"], item["prompt"]) for item in answers) == [
        (0, "The fox"),
        (1, "A dog"),
        (2, "Jumps"),
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
        (b"\xff\xfe\x00", (), "cannot be read as text"),
        (b"Fox\n", ("--size", "0"), "the batch size is 0; give a number from 1 to 256"),
        (b"Fox " * 900, (), "shorten the prompt"),
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
    assert "cannot be read as text" in capsys.readouterr().err
