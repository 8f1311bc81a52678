"""What the commands say of models whose logits are no numbers, and what they write down."""

import json
from pathlib import Path

import pytest

from core import generate, generate_batch
from core.trace.events import RunFailed
from core.trace.file import load_trace
from tests.core.test_bad_numbers import NAN, save, sentence, whole, with_input, with_norm
from tests.tiny_folder import byte_tokenizer


def no_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    save(home / "broken", with_norm(NAN))
    save(home / "target", whole)
    save(home / "no C", with_input(byte_tokenizer().get_vocab()["C"]))
    return home


def options(home: Path, target: str, *more: str) -> list[str]:
    return ["--target", str(home / target), "--no-compile", "--max-new-tokens", "4", *more]


def test_a_target_of_no_numbers_fails_with_its_sentence_in_every_form(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.jsonl"
    given = options(home, "broken", "--prompt", "Hi", "--json", "--trace", str(trace))
    assert generate.main(given) == 1
    told = capsys.readouterr()
    result = json.loads(told.out, parse_constant=no_constant)
    assert result["finish_reason"] == "failed" and result["token_ids"] == []
    position = len("user: Hi\nassistant: ")
    assert told.err == f"the run failed after 0 steps: {sentence('target', position)}\n"
    failed = load_trace(trace).events[-1]
    assert isinstance(failed, RunFailed) and failed.message == sentence("target", position)


def test_of_many_prompts_only_those_fail_that_meet_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hello\nHello C\nBye\n", "utf-8")
    assert generate_batch.main(options(home, "no C", "--prompts", str(prompts))) == 1
    told = capsys.readouterr()
    lines = (json.loads(line, parse_constant=no_constant) for line in told.out.splitlines())
    answers = {answer["line"]: answer for answer in lines}
    assert {line: answer["finish_reason"] for line, answer in answers.items()} == {
        1: "length", 2: "failed", 3: "length",
    }  # fmt: skip
    assert "the target's logits are NaN or infinite" in answers[2]["error"]
    assert told.err.count("line 2 failed: the target's logits are NaN or infinite") == 1


def test_a_run_that_goes_on_without_its_drafter_says_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafts = (
        "--mode", "sd-classic", "--draft", str(home / "broken"), "--fixed-size",
        "--draft-failure", "plain",
    )  # fmt: skip
    assert generate.main(options(home, "target", "--prompt", "Hi", *drafts)) == 0
    told = capsys.readouterr().err
    assert f"without drafts from step 1 on: {sentence('drafter', 20)}\n" in told
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hi\n", "utf-8")
    assert generate_batch.main(options(home, "target", "--prompts", str(prompts), *drafts)) == 0
    told = capsys.readouterr().err
    assert f"line 1, without drafts from step 1 on: {sentence('drafter', 20)}\n" in told
