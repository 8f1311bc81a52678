"""Other programs by name: what is read of `--with`, and what is refused in one sentence."""

import os
import sys
from pathlib import Path

import pytest

from core.benchmark.outside.engine_runners import outside_runners
from core.benchmark.outside.engines import OutsideEngine, parse_engines
from core.benchmark.outside.llama_cli import LlamaCliRunner, PrintedTimes, read_times
from core.benchmark.outside.peer_target import PeerTarget
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.errors import InvalidSettingError
from core.runtime.storage import no_progress


def test_an_engine_is_a_name_and_a_place_each_once() -> None:
    texts = ["transformers", "vllm=http://host:1/a=b", "llama-cpp=/x/python", "transformers"]
    assert parse_engines(texts) == [
        OutsideEngine("transformers", None),
        OutsideEngine("vllm", "http://host:1/a=b"),
        OutsideEngine("llama-cpp", "/x/python"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("magic", r"no engine 'magic' .*llama-cpp\[=PYTHON\]"),
        ("vllm=", r"give --with vllm=PATH or URL"),
        ("server", r"names no server; give --with server=http://host:port"),
        (
            "llama-cli:n=3",
            r"which llama-cli does not take; leave them out, or give one of llama-server",
        ),
        ("transformers=x", r"no number format; give transformers with one of =float32, =bfloat16"),
    ],
)
def test_a_word_that_is_no_engine_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidSettingError, match=complaint):
        parse_engines([text])


def test_a_server_has_options_of_its_own_behind_its_name_or_place() -> None:
    json = '{"method":"ngram","num_speculative_tokens":3}'
    plain, placed, url = parse_engines(
        [
            "llama-server:spec-type=ngram-mod,spec-draft-n-max=5",
            f"vllm=/x/vllm:speculative-config={json},seed=1",
            "sglang=http://host:30000/v1",
        ]
    )
    assert plain.where is None and plain.options == (
        ("spec-type", "ngram-mod"), ("spec-draft-n-max", "5"),
    )  # fmt: skip
    assert plain.label == plain.text == "llama-server:spec-type=ngram-mod,spec-draft-n-max=5"
    assert (placed.where, placed.options[0]) == ("/x/vllm", ("speculative-config", json))
    assert placed.label == f"vllm:speculative-config={json},seed=1"
    assert placed.text == f"vllm=/x/vllm:speculative-config={json},seed=1"
    assert url == OutsideEngine("sglang", "http://host:30000/v1")


def test_two_of_a_kind_are_told_apart(
    gguf_target: PeerTarget, config: RunConfig, tmp_path: Path
) -> None:
    program = tmp_path / "llama-cli"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    other = program.with_name("llama-completion")
    other.write_bytes(program.read_bytes())
    other.chmod(0o755)
    engines = parse_engines([f"llama-cli={program}", f"llama-cli={other}", "transformers"])
    runners = outside_runners(engines, gguf_target, config, None, no_progress)
    assert [runner.label for runner in runners] == [
        f"llama-cli={program}", f"llama-cli={other}", "transformers", "transformers lookup",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"sampling": {"repetition_penalty": 1.1, "ignore_eos": True}}, "repetition_penalty"),
        ({"stop": ["END"]}, "stop"),
    ],
)
def test_settings_that_others_define_otherwise_are_refused(
    settings: dict[str, object], name: str, target: PeerTarget
) -> None:
    with pytest.raises(InvalidSettingError, match=f"vllm is compared without {name}, which other"):
        outside_runners(
            parse_engines(["vllm"]), target, RunConfig.from_dict(settings), None, no_progress
        )


def test_transformers_computes_in_the_number_format_asked_for(
    target: PeerTarget, config: RunConfig
) -> None:
    engines = parse_engines(["transformers=bfloat16", "transformers"])
    others = outside_runners(engines, target, config, None, no_progress)
    told = {runner.label: (runner.facts.arithmetic, runner.gives_plain_text) for runner in others}
    assert told["transformers=bfloat16"] == ("transformers', bfloat16", False)
    assert told["transformers"] == ("transformers', float32", True)
    assert all(runner.answer(PROMPT).error is None for runner in others)


PRINTED = """
common_perf_print:    sampling time =       2.00 ms
common_perf_print: prompt eval time =     500.00 ms /     3 tokens (    1.00 ms per token)
common_perf_print:        eval time =    1500.00 ms /     7 runs   (    1.00 ms per token)
common_perf_print:       total time =    9000.00 ms /    10 tokens
"""
PROMPT = Prompt("?", [65, 66, 67])


def cli(gguf_target: PeerTarget, folder: Path, body: str) -> LlamaCliRunner:
    program = folder / "llama-cli"
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    return LlamaCliRunner("llama-cli", str(program), gguf_target, RunConfig())


def test_the_printed_times_are_read() -> None:
    assert read_times(PRINTED) == PrintedTimes(0.5, 3, pytest.approx(1.502), 7)
    assert read_times("nothing") is None


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_a_command_is_given_the_text_and_timed_by_what_it_prints(
    gguf_target: PeerTarget, tmp_path: Path
) -> None:
    words, text = tmp_path / "words", tmp_path / "text"
    body = f'echo "$@" > {words}; for last; do :; done; cat "$last" > {text}\n'
    runner = cli(
        gguf_target, tmp_path, f"{body}sleep 0.3; printf answer; cat >&2 <<'END'{PRINTED}END"
    )
    runner.memory.reset()
    answer = runner.answer(PROMPT)
    assert answer.error is None and answer.text == "answer"
    assert [emission.num_tokens for emission in answer.emissions] == [1, 7]
    assert answer.emissions[0].t_s == 0.5 and answer.total_s == pytest.approx(2.002)
    assert text.read_text(encoding="utf-8") == gguf_target.tokenizer.decode(PROMPT.token_ids)
    assert "--temp 0" in words.read_text(encoding="utf-8")
    resident = runner.memory.peak().resident_bytes
    assert sys.platform != "linux" or (resident is not None and 0 < resident < 50e6)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo broken file >&2; exit 4", "status 4: broken file"),
        ("echo hello", "printed no times"),
        (f"cat >&2 <<'END'{PRINTED.replace('    3 tokens', '    9 tokens')}END", "9 prompt tokens"),
    ],
)
def test_a_command_that_fails_is_a_failed_answer(
    gguf_target: PeerTarget, tmp_path: Path, body: str, why: str
) -> None:
    error = cli(gguf_target, tmp_path, body).answer(PROMPT).error
    assert error is not None and why in error


def test_llama_cpp_needs_a_gguf_and_a_program(
    target: PeerTarget, gguf_target: PeerTarget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidSettingError, match="is no GGUF file, which llama-cli needs"):
        LlamaCliRunner("llama-cli", None, target, RunConfig())
    with pytest.raises(InvalidSettingError, match="no program llama-completion or llama-cli"):
        LlamaCliRunner("llama-cli", None, gguf_target, RunConfig())
