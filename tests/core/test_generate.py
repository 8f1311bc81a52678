"""The command `python -m core.generate`, on a tiny model in this process."""

import csv
import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.engine import Engine
from core.generate import main
from core.trace.events import Event, RunFinished, RunStarted, TokenTexts
from core.trace.file import load_trace
from tests.tiny_folder import save_tiny_model

STATS = {
    "num_tokens", "num_steps", "num_drafted", "num_tested", "num_accepted", "acceptance_rate",
    "acceptance_length", "tokens_per_s", "prefill_s", "draft_s", "verify_s", "commit_s", "total_s",
}  # fmt: skip


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("generate") / "target")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command."""
    try:
        status = main([*arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_json_has_every_field_of_the_contract(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(
        capsys, "--prompt", "hello hello hello", "--target", target, "--mode", "ngram",
        "--max-new-tokens", "24", "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert status == 0
    assert list(result) == [
        "mode", "target", "draft", "dtype", "device", "token_ids", "text", "finish_reason",
        "peak_memory_bytes", "stats",
    ]  # fmt: skip
    assert set(result["stats"]) >= STATS
    num_tokens = result["stats"]["num_tokens"]
    assert len(result["token_ids"]) == num_tokens
    assert (result["finish_reason"] == "length") == (num_tokens == 24)
    assert sys.platform == "win32" or result["peak_memory_bytes"] > 1e7
    assert result["mode"] == "ngram"


def test_a_lossy_rule_is_told_beside_the_text(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prompt", "hello", "--target", target, "--mode", "ngram", "--max-new-tokens", "4"]
    _, _, err = run(capsys, *words, "--accept", "typical", "--do-sample", "--json")
    assert "--accept typical is lossy: the text is not distributed as the target's own" in err
    _, _, err = run(capsys, *words, "--accept", "typical", "--temp", "0", "--json")
    assert "lossy" not in err, "greedy text is the target's own under every rule"


def test_a_number_format_in_which_drafts_may_change_the_text_is_told_beside_it(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prompt", "hello", "--target", target, "--max-new-tokens", "4", "--json"]
    in_bfloat16 = [*words, "--dtype", "bfloat16", "--no-compile"]
    _, _, err = run(capsys, *in_bfloat16, "--mode", "ngram")
    assert "In bfloat16 drafts may change the text" in err
    for exact in (
        [*words, "--mode", "ngram"],
        [*in_bfloat16, "--mode", "naive"],
        [*in_bfloat16, "--mode", "ngram", "--invariant"],
    ):
        assert "may change the text" not in run(capsys, *exact)[2], exact


def test_without_json_the_text_streams_and_a_summary_follows(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "--prompt", "hello", "--target", target, "--max-new-tokens", "8")
    assert status == 0 and out.endswith("\n")
    assert "8 tokens, 8 steps" in err


def test_trace_and_table_are_written(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace_path, csv_path = tmp_path / "run.jsonl", tmp_path / "run.csv"
    status, out, _ = run(
        capsys, "--prompt", "abc", "--raw", "--target", target, "--max-new-tokens", "8", "--json",
        "--trace", str(trace_path), "--csv", str(csv_path),
    )  # fmt: skip
    assert status == 0
    assert load_trace(trace_path).token_ids == json.loads(out)["token_ids"]
    with csv_path.open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == json.loads(out)["stats"]["num_steps"]


@pytest.mark.parametrize("where", ["--prompt-file F", "--prompt-file -", "--prompt -"])
def test_a_prompt_is_read_from_a_file_and_from_the_standard_input(
    where: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    content = b"\xef\xbb\xbfabc\r\n\r\ndef\n\n"
    (tmp_path / "F").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    more = ["--target", target, "--max-new-tokens", "1", "--raw", "--trace", "t"]
    assert run(capsys, *where.split(), *more)[0] == 0
    started = load_trace(Path("t")).first(RunStarted)
    assert started is not None and started.prompt_text == "abc\n\ndef\n"


@pytest.mark.parametrize("is_json", [True, False])
def test_an_interrupted_run_ends_with_what_it_has_and_says_so(
    is_json: bool, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    begin = Engine.run

    def interrupted(*arguments: Any, **more: Any) -> Iterator[Event]:
        for number, event in enumerate(begin(*arguments, **more)):
            if number == 9:
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(Engine, "run", interrupted)
    words = ["--prompt", "abc", "--target", target, "--trace", str(tmp_path / "t")]
    status, out, err = run(capsys, *words, *(["--json"] if is_json else []))
    trace = load_trace(tmp_path / "t")
    finished = trace.first(RunFinished)
    assert status == 130 and err.splitlines()[-1] == "stopped"
    assert finished is not None and finished.reason == "stopped"
    assert 1 <= len(trace.token_ids) < 10
    if is_json:
        result = json.loads(out)
        assert result["finish_reason"] == "stopped" and result["token_ids"] == trace.token_ids
    else:
        assert out == trace.text + "\n"


def test_a_trace_may_go_to_what_is_no_file(target: str, capfd: pytest.CaptureFixture[str]) -> None:
    main(["--prompt", "abc", "--target", target, "--max-new-tokens", "2", "--trace", "/dev/null"])
    assert not Path("/dev/null").is_file()


def test_raw_and_chat_prompts_differ(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--prompt", "abc", "--target", target, "--max-new-tokens", "12", "--json")
    _, chat, _ = run(capsys, *common)
    _, raw, _ = run(capsys, *common, "--raw")
    assert json.loads(chat)["token_ids"] != json.loads(raw)["token_ids"]


def test_the_same_seed_samples_the_same_text(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (
        "--prompt", "abc", "--target", target, "--max-new-tokens", "12", "--json",
    )  # fmt: skip
    texts = [
        json.loads(run(capsys, *common, *words)[1])["token_ids"]
        for words in (
            ("--temp", "1.5", "--seed", "3"),
            ("--temperature", "1.5", "--seed", "3"),
            ("--do-sample", "--temp", "1.5", "--seed", "3"),
            ("--temp", "1.5", "--seed", "4"),
            ("--temp", "0"),
        )
    ]
    assert texts[0] == texts[1] == texts[2]
    assert len({*map(tuple, texts)}) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prompt", "  "], "the prompt is empty"),
        (["--prompt", "x", "--target", "nothing-here"], "there is no model named 'nothing-here'"),
        (["--prompt", "x", "--mode", "magic"], "invalid choice: 'magic'"),
        (["--prompt", "x", "--max-new-tokens", "0"], "max_new_tokens is 0; give a value"),
        (["--prompt", "x", "--temp", "-1"], "temperature is -1"),
        (["--prompt", "x", "--temp", "1", "--top-p", "nan"], "top_p is nan"),
        (["--prompt", "x", "--do-sample", "--temp", "0"], "give a temperature above 0"),
        (["--prompt", "x", "--top-p", "0.5"], "give a temperature as well, or leave top_p out"),
        (["--prompt", "x", "--depth", "3"], "--depth is no setting of mode naive"),
        (["--prompt", "x", "--draft", "y"], "--draft is no setting of mode naive"),
        (["--prompt", "x", "--accept", "match"], "--accept is no setting of mode naive"),
        (
            ["--prompt", "x", "--mode", "ngram", "--accept", "typical"],
            "--accept is no setting without --temp",
        ),
        (
            ["--prompt", "x", "--mode", "ngram", "--draft", "y"],
            "--draft is no setting of mode ngram, which has --accept, --branching, --depth, "
            "--draft-failure, --fixed-size, --memory, --min-match, --num-nodes; leave it out.",
        ),
        (["--prompt", "x", "--raw", "--system", "y"], "--system is no setting beside --raw"),
        (["--prompt", "x", "--csv-table", "nodes"], "--csv-table is no setting without --csv"),
        (["--prompt", "x", "--prompt-file", "y"], "not allowed with argument --prompt"),
        (["--prompt-file", "/no/such/file"], "/no/such/file cannot be read (No such file"),
        (["--prompt", "x", "--mode", "ngram", "--num-nodes", "9999"], "num_nodes is 9999"),
        (["--prompt", "x", "--trace", "/no/such/folder/t.jsonl"], "cannot be written"),
        ([], "one of the arguments --prompt --prompt-file --fork is required"),
    ],
)
def test_bad_input_exits_with_two_and_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == ""
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_a_prompt_beyond_the_context_is_refused(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "--prompt", "word " * 300, "--target", target)
    assert status == 2
    assert "the model's context holds 512; shorten the prompt" in err


def test_a_context_that_fills_up_ends_the_run_with_that_reason(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "--prompt", "x" * 480, "--raw", "--target", target, "--json")
    result = json.loads(out)
    assert result["finish_reason"] == "context"
    assert len(result["token_ids"]) == 512 - 480


def test_a_memory_on_disk_is_read_and_grows(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "memory.jsonl"
    asked = ("--prompt", "hello", "--target", target, "--max-new-tokens", "24")
    asked += ("--temp", "0.9", "--seed", "3", "--json")
    _, out, _ = run(capsys, *asked, "--mode", "naive")
    plain = json.loads(out)["token_ids"]
    steps = []
    for number in range(2):
        trace = tmp_path / f"{number}.jsonl"
        status, out, err = run(
            capsys, *asked, "--mode", "ngram", "--fixed-size", "--min-match", "2",
            "--memory", str(path), "--trace", str(trace),
        )  # fmt: skip
        result = json.loads(out)
        assert status == 0 and result["token_ids"] == plain, err
        steps.append(result["stats"]["num_steps"])
        started = load_trace(trace).first(RunStarted)
        assert started is not None and started.memory is not None
        assert started.memory["num_answers"] == number
        assert started.config["drafter"]["memory"] is True
    assert steps[1] < steps[0]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--mode", "ngram", "--memory"),
            "--memory has no file, and this command gives one answer",
        ),
        (("--mode", "ngram", "--memory", "{bad}"), "line 2: it is no answer"),
        (("--mode", "ngram", "--memory", "{foreign}"), "holds the tokens of another tokenizer"),
        (("--mode", "ngram", "--memory", "{folder}"), "cannot be written"),
        (("--mode", "naive", "--memory", "{bad}"), "--memory is no setting of mode naive"),
    ],
)
def test_a_memory_that_cannot_serve_is_refused_and_left_as_it_is(
    arguments: tuple[str, ...],
    told: str,
    target: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    header = '{"format": "specdecodes-memory", "version": 1, "tokenizer": "another"}\n'
    contents = {"bad": header + "[1, 2\n", "foreign": header + "[1, 2]\n"}
    places = {name: tmp_path / name for name in (*contents, "folder")}
    places["folder"].mkdir()
    for name, content in contents.items():
        places[name].write_text(content, encoding="utf-8")
    given = [word.format(**places) for word in arguments]
    status, out, err = run(
        capsys, "--prompt", "hello", "--target", target, "--max-new-tokens", "4", *given
    )
    assert status == 2 and out == ""
    assert told in err and err.count("\n") == 1
    for name, content in contents.items():
        assert places[name].read_text(encoding="utf-8") == content


@pytest.fixture
def answered(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The trace of a sampled run."""
    path = tmp_path / "run.jsonl"
    status, _, _ = run(
        capsys, "--prompt", "hello hello hello", "--target", target, "--mode", "ngram", "--do-sample",
        "--seed", "7", "--max-new-tokens", "12", "--trace", str(path), "--json",
    )  # fmt: skip
    assert status == 0
    return path


def test_an_answer_goes_on_from_another_token_under_its_own_settings(
    answered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_trace(answered)
    own = whole.token_ids
    path = tmp_path / "branch.jsonl"
    at = ["--fork", str(answered), "--at", "5", "--json"]
    status, out, _ = run(capsys, *at, "--token", "9", "--trace", str(path))
    branch = json.loads(out)
    assert status == 0
    assert branch["token_ids"][:6] == [*own[:5], 9]
    assert len(branch["token_ids"]) == 12
    parent, started = whole.first(RunStarted), load_trace(path).first(RunStarted)
    assert parent is not None and started is not None
    assert (started.parent, started.forked_at) == (parent.run_id, 5)
    assert started.config == parent.config
    same = json.loads(run(capsys, *at, "--token", str(own[5]))[1])
    assert same["token_ids"] == own, "by its own token it is the run itself"
    (text,) = {
        text
        for event in load_trace(path).of_kind(TokenTexts)
        for token_id, text in zip(event.token_ids, event.texts, strict=True)
        if token_id == 9
    }
    named = json.loads(run(capsys, *at, "--token", text)[1])
    assert named["token_ids"] == branch["token_ids"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at", "5"], "--fork has no --token; give --at the place"),
        (["--token", "9"], "--fork has no --at; give --at the place"),
        (["--at", "13", "--token", "9"], "the position is 13 and the answer has 12 tokens"),
        (["--at", "-1", "--token", "9"], "the position is -1 and the answer has 12 tokens"),
        (["--at", "5", "--token", "no such"], "no token of the target has the text 'no such'"),
        (["--at", "5", "--token", "99999"], "there is no token 99999"),
        (["--at", "5", "--token", "9", "--seed", "8"], "--seed is no setting beside --fork"),
        (["--at", "5", "--token", "9", "--mode", "naive"], "--mode is no setting beside --fork"),
        (["--at", "5", "--token", "9", "--raw"], "--raw is no setting beside --fork"),
        (["--at", "x", "--token", "9"], "invalid int value: 'x'"),
    ],
)
def test_a_branch_that_cannot_be_is_refused_in_a_sentence(
    answered: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    status, out, err = run(capsys, "--fork", str(answered), *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_what_is_no_trace_has_no_branch(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--at", "0", "--token", "9"]
    status, _, err = run(capsys, "--fork", str(tmp_path / "none.jsonl"), *words)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "cannot be read" in err
    (tmp_path / "bad.jsonl").write_text("nonsense")
    status, _, err = run(capsys, "--fork", str(tmp_path / "bad.jsonl"), *words)
    assert (status, len(err.splitlines())) == (2, 1)
    for word in words[::2]:
        status, _, err = run(capsys, "--prompt", "hello", "--target", target, word, "1")
        assert (status, err) == (
            2,
            f"{word} is no setting without --fork; give that too, or leave it out.\n",
        )
