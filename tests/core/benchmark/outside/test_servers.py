"""Servers over HTTP: what they are asked, what is counted, and what is told of their failures."""

import os
import sys
from pathlib import Path

import pytest

from core.benchmark.measurement import Answer, measure, pace_of
from core.benchmark.outside.engines import OutsideEngine, parse_engines
from core.benchmark.outside.peer_target import PeerTarget
from core.benchmark.outside.servers import server_runners
from core.benchmark.questions import Question
from core.benchmark.summary import Row, summarize
from core.benchmark.tables import speed_table
from core.config import RunConfig, SamplingConfig
from core.decoding.run_start import Prompt
from core.errors import InvalidSettingError
from core.runtime.storage import no_progress
from tests.core.benchmark.completion_server import (
    Script,
    text_event,
    usage_event,
)

PROMPT = Prompt("?", [5, 6, 7])


def answer(
    url: str, target: PeerTarget, name: str = "vllm", config: RunConfig | None = None
) -> Answer:
    engine = OutsideEngine(name, url)
    (runner,) = server_runners(engine, name, target, config or RunConfig(), no_progress)
    assert runner.memory is None and runner.facts.weights == "as the server has them (tiny)"
    return runner.answer(PROMPT)


def test_tokens_are_those_of_the_usage_figures(
    url: str, target: PeerTarget, script: Script
) -> None:
    """Events need not hold one token each: with speculation they hold several."""
    script.events = [text_event("a"), text_event("bcd"), text_event(""), usage_event(6, 3)]
    given = answer(url, target)
    assert given.error is None and given.text == "abcd"
    assert sum(emission.num_tokens for emission in given.emissions) == 6
    assert pace_of(given.emissions).num_tokens == 5
    times = [emission.t_s for emission in given.emissions]
    assert times == sorted(times) and 0 < times[-1] <= given.total_s


@pytest.mark.parametrize("place", ["usage", "timings"])
def test_counts_told_on_the_way_say_how_many_tokens_came_first(
    url: str, target: PeerTarget, script: Script, place: str
) -> None:
    def so_far(num: int) -> dict[str, object]:
        is_usage = place == "usage"
        counts = (
            {"prompt_tokens": 3, "completion_tokens": num} if is_usage else {"predicted_n": num}
        )
        return {place: counts}

    script.events = [
        text_event("ab", **so_far(2)), text_event("cde", **so_far(5)), usage_event(6, 3),
    ]  # fmt: skip
    given = answer(url, target)
    assert [emission.num_tokens for emission in given.emissions] == [2, 3, 1]
    assert given.trace is not None and given.trace.stats.num_tokens == 6


def test_ids_go_out_with_our_settings_and_without_the_engines_habits(
    url: str, target: PeerTarget, script: Script
) -> None:
    script.events = [text_event("a"), usage_event(1, 3)]
    assert answer(url, target, "llama-server", RunConfig(max_new_tokens=9)).error is None
    greedy = script.requests[-1]
    assert (greedy["prompt"], greedy["n_predict"], greedy["model"]) == ([5, 6, 7], 9, "tiny")
    assert greedy["temperature"] == 0.0 and greedy["stream"] is True
    assert greedy["cache_prompt"] is False and greedy["repeat_penalty"] == 1.0
    sampling = SamplingConfig(do_sample=True, temperature=0.7, top_p=0.9, min_p=0.1, seed=4)
    assert answer(url, target, "vllm", RunConfig(sampling=sampling)).error is None
    sampled = script.requests[-1]
    assert (sampled["temperature"], sampled["top_p"], sampled["seed"]) == (0.7, 0.9, 4)
    assert (greedy["min_p"], sampled["min_p"]) == (0.0, 0.1)
    assert sampled["top_k"] == -1 and sampled["repetition_penalty"] == 1.0
    assert sampled["stop_token_ids"] == sorted(target.end_token_ids)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([text_event("a")], "no usage figures"),
        ([text_event("a"), usage_event(1, 4)], "read 4 prompt tokens, and 3 were given"),
        ([text_event("a"), {"error": {"message": "out of memory"}}], "out of memory"),
        (["data: {"], "not JSON"),
        (["data: 7"], "no JSON object"),
    ],
)
def test_a_stream_that_says_too_little_is_a_failure(
    url: str, target: PeerTarget, script: Script, events: list[object], why: str
) -> None:
    script.events = events  # type: ignore[assignment]
    error = answer(url, target).error
    assert error is not None and why in error


def test_a_refusal_is_a_failure_with_the_servers_words(
    url: str, target: PeerTarget, script: Script
) -> None:
    script.num_served, script.status, script.refusal = 0, 400, "the prompt is too long"
    error = answer(url, target).error
    assert error is not None and "status 400: the prompt is too long" in error


def test_comments_and_an_answer_of_the_end_alone_are_understood(
    url: str, target: PeerTarget, script: Script
) -> None:
    script.events = [": ping", usage_event(1, 3)]
    given = answer(url, target)
    assert given.error is None and given.emissions == [] and given.text == ""


@pytest.mark.parametrize("where", ["http://127.0.0.1:9", "http://"])
def test_an_address_where_nobody_answers_is_one_sentence(target: PeerTarget, where: str) -> None:
    with pytest.raises(
        InvalidSettingError,
        match=r"(tells no model|no address).*; give --with sglang=URL",
    ):
        server_runners(OutsideEngine("sglang", where), "sglang", target, RunConfig(), no_progress)


@pytest.mark.parametrize("name", ["llama-server", "vllm", "sglang"])
def test_a_program_that_is_not_installed_is_one_sentence(
    target: PeerTarget, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidSettingError, match=rf"{name} is not installed: .*; install it"):
        server_runners(OutsideEngine(name, None), name, target, RunConfig(), no_progress)


SERVING = """#!{python}
import sys, time
sys.path.insert(0, {root!r})
import http.server
from tests.core.benchmark import completion_server as module
script = module.Script([module.text_event("a"), module.usage_event(1, 3)])
port = int(sys.argv[sys.argv.index("--port") + 1])
made = http.server.ThreadingHTTPServer
module.ThreadingHTTPServer = lambda place, handler: made((place[0], port), handler)
with module.completion_server(script):
    time.sleep(600)
"""


def program(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_what_a_server_tells_of_its_drafts_is_measured(
    url: str, target: PeerTarget, script: Script
) -> None:
    def chunk(text: str, count: int, ms: float, drafted: int, accepted: int) -> dict[str, object]:
        timings = {"predicted_n": count, "predicted_ms": ms}
        drafts = {"draft_n": drafted, "draft_n_accepted": accepted}
        return {"content": text, "tokens": [count], "timings": {**timings, **drafts}}

    script.events = [chunk("a", 1, 0.001, 0, 0), chunk("b", 2, 5.0, 4, 1), chunk("c", 3, 5.0, 4, 1)]
    given = answer(url, target, "llama-server")
    assert given.trace is not None and given.token_ids == [1, 2, 3]
    question = Question(1, "chat", ["?"])
    (row, _) = summarize([measure(given, "llama-server", question, 1)])
    assert (row.num_drafted, row.num_tested, row.num_accepted) == (4, 2, 1)
    assert row.acceptance_length == 1.5 and row.phases is None
    cells = dict(zip(*_speed_cells_of(row), strict=True))
    assert (cells["tau"], cells["drafted"], cells["accepted"]) == ("1.50", "4", "1 of 2, 50%")


def test_of_what_a_server_does_not_tell_there_is_a_dash_and_of_joined_steps_a_bound(
    url: str, target: PeerTarget, script: Script
) -> None:
    script.events = [text_event("a"), text_event("b"), usage_event(5, 3)]
    (row, _) = summarize([measure(answer(url, target), "vllm", Question(1, "chat", ["?"]), 1)])
    cells = dict(zip(*_speed_cells_of(row), strict=True))
    assert (cells["tau"], cells["drafted"], cells["accepted"]) == ("-", "-", "-")
    script.events = [
        text_event("a", usage={"completion_tokens": 1}),
        text_event("bcd", usage={"completion_tokens": 4}),
        {
            **usage_event(4, 3),
            "metrics": {
                "speculative_decoding": {"num_draft_tokens": 8, "num_accepted_draft_tokens": 2}
            },
        },
    ]
    (row, _) = summarize([measure(answer(url, target), "vllm", Question(1, "chat", ["?"]), 1)])
    cells = dict(zip(*_speed_cells_of(row), strict=True))
    assert (cells["tau"], cells["drafted"]) == ("≤ 2.00", "8")
    assert cells["accepted"] == "2 of 8 drafted, 25%"


def _speed_cells_of(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    table = speed_table([row])
    return table.columns, table.rows[0]


def test_a_server_of_any_kind_is_asked_what_it_is(
    url: str, target: PeerTarget, script: Script
) -> None:
    script.found["/v1/models"] = {"data": [{"id": "tiny", "owned_by": "sglang"}]}
    script.events = [text_event("a"), usage_event(1, 3)]
    given = answer(url, target, "server")
    assert given.error is None and "stop_token_ids" not in script.requests[-1]
    assert script.requests[-1]["return_spec_tokens_details"] is True


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_a_program_is_started_with_the_options_that_are_given(
    target: PeerTarget, tmp_path: Path
) -> None:
    import psutil

    text = SERVING.format(python=sys.executable, root=str(Path.cwd()))
    where = program(tmp_path / "vllm", text)
    (engine,) = parse_engines([f'vllm={where}:speculative-config={{"method":"ngram"}}'])
    (runner,) = server_runners(engine, "x", target, RunConfig(), no_progress)
    assert runner.label == "x"
    words = [one.cmdline() for one in psutil.Process().children() if where in one.cmdline()][-1]
    assert words[words.index("--speculative-config") + 1] == '{"method":"ngram"}'
    running = OutsideEngine("vllm", "http://127.0.0.1:1", (("seed", "1"),))
    with pytest.raises(
        InvalidSettingError, match="a server that runs, which was given its options"
    ):
        server_runners(running, "x", target, RunConfig(), no_progress)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_a_program_is_started_awaited_measured_and_ended(
    target: PeerTarget, tmp_path: Path
) -> None:
    import psutil

    text = SERVING.format(python=sys.executable, root=str(Path.cwd()))
    where = program(tmp_path / "vllm", text)
    runner, speculating = server_runners(
        OutsideEngine("vllm", where), "vllm", target, RunConfig(), no_progress
    )
    assert (runner.label, speculating.label) == ("vllm", "vllm ngram")
    assert runner.memory is not None
    runner.memory.reset()
    assert runner.answer(PROMPT).error is None
    resident = runner.memory.peak().resident_bytes
    assert sys.platform != "linux" or (resident is not None and resident > 1e6)
    child, other = (
        one
        for one in psutil.Process().children()
        if one.status() != psutil.STATUS_ZOMBIE and where in one.cmdline()
    )
    words, others = child.cmdline(), other.cmdline()
    assert "--speculative-config" not in words
    assert '"method": "ngram"' in others[others.index("--speculative-config") + 1]
    assert child.environ()["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert words[words.index("serve") + 1] == str(target.source.folder)
    assert "float32" in words and "--no-enable-prefix-caching" in words
    child.kill()
    error = runner.answer(PROMPT).error
    assert error is not None, "a server that ends in the middle is a failure, no crash"


def test_a_python_that_lacks_the_server_is_told_how_to_install_it(gguf_target: PeerTarget) -> None:
    with pytest.raises(InvalidSettingError, match=r"No module named 'xllamacpp'.*pip install xll"):
        server_runners(
            OutsideEngine("llama-server", sys.executable),
            "s",
            gguf_target,
            RunConfig(),
            no_progress,
        )


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_a_program_that_ends_at_once_is_told_with_its_last_words(
    target: PeerTarget, tmp_path: Path
) -> None:
    where = program(tmp_path / "vllm", "#!/bin/sh\necho no GPU found\nexit 3\n")
    with pytest.raises(InvalidSettingError, match=r"vllm ended with status 3: no GPU found; give"):
        server_runners(OutsideEngine("vllm", where), "vllm", target, RunConfig(), no_progress)
