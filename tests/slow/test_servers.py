"""Real servers: what their streams come to is what they tell of themselves.

Each runs where its program is named: SPECDECODES_XLLAMACPP is a Python that has xllamacpp, and
SPECDECODES_VLLM the program `vllm`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.attached.engine import AttachedEngine
from core.attached.event_stream import open_client
from core.benchmark.outside import workers
from core.benchmark.outside.server_process import HOST, ServerProcess, free_port
from core.config import DEFAULT_TARGET, RunConfig
from core.models.sources import find_model
from core.modes.server import MODE
from core.runtime.storage import no_progress
from core.trace.events import Observed, RunFinished, ServerTotals
from core.trace.file import Trace
from core.trace.stats import differences

pytestmark = pytest.mark.slow

TEXTS = [
    "1, 2, 3, 4, 5, 6. 1, 2, 3, 4, 5, 6. 1, 2, 3,",
    "😀 東京 😀 東京 😀 東京",
]
QUESTION = "Repeat this list twice: red, green, blue, yellow."
LLAMA_WAYS = {
    "plain": [],
    "ngram-simple": ["--spec-type", "ngram-simple"],
    "ngram-mod": ["--spec-type", "ngram-mod"],
    "draft": ["--spec-type", "draft-simple", "--spec-draft-n-max", "4"],
}
_NGRAM = (
    '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3, '
    '"prompt_lookup_min": 2}'
)
VLLM_WAYS = {
    "told": ["--speculative-config", _NGRAM, "--per-request-spec-decode-metrics", "detailed"],
    "counted": ["--speculative-config", _NGRAM],
    "plain": [],
}


def named_by(variable: str, what: str) -> str:
    """What the environment names; the test is skipped where it names nothing."""
    found = os.environ.get(variable)
    if not found:
        pytest.skip(f"{variable} names no {what}")
    return found


def served(name: str, command: list[str], environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    process = ServerProcess(name, [*command, "--host", HOST, "--port", str(port)], environment)
    url = f"http://{HOST}:{port}"
    process.wait_until_ready(open_client(url), no_progress)
    yield url
    process.stop()


@pytest.fixture(scope="module", params=LLAMA_WAYS)
def llama(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    python = named_by("SPECDECODES_XLLAMACPP", "Python with xllamacpp")
    gguf = str(find_model(DEFAULT_TARGET, no_progress).gguf)
    script = Path(workers.__path__[0]) / "llama_server.py"
    words = [*LLAMA_WAYS[request.param], "-m", gguf]
    words += ["-c", "1024", "-np", "1", "-t", "1", "-tb", "1"]
    words += ["--model-draft", gguf] if request.param == "draft" else []
    for url in served("llama-server", [python, "-I", str(script), *words, "-ngl", "0"], {}):
        yield request.param, url


@pytest.fixture(scope="module", params=VLLM_WAYS)
def vllm(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    program = named_by("SPECDECODES_VLLM", "program")
    folder = str(find_model(DEFAULT_TARGET, no_progress).folder)
    words = ["--max-model-len", "512", "--dtype", "float32", "--no-enable-prefix-caching"]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [program, "serve", folder, *words, "--enforce-eager", *VLLM_WAYS[request.param]]
    for url in served("vllm", command, environment):
        yield request.param, url


def answers(url: str) -> list[Trace]:
    engine = AttachedEngine(url)
    config = RunConfig(mode=MODE, target=url, max_new_tokens=40)
    prompts = [engine.raw_prompt(text) for text in TEXTS]
    prompts.append(engine.chat_prompt([{"role": "user", "content": QUESTION}]))
    return [Trace(list(engine.run(prompt, config))) for prompt in prompts]


def check_totals(trace: Trace) -> ServerTotals:
    totals, finished = trace.first(ServerTotals), trace.first(RunFinished)
    assert totals is not None and finished is not None
    assert finished.reason in ("length", "eos")
    assert differences(totals) == []
    return totals


def test_llama_server_tells_at_its_end_what_its_stream_showed(llama: tuple[str, str]) -> None:
    way, url = llama
    num_accepted = 0
    for trace in answers(url):
        totals, stats = check_totals(trace), trace.stats
        assert {"num_tokens", "num_drafted", "num_accepted", "steps_s"} <= totals.seen.keys()
        assert {one.border for one in trace.of_kind(Observed)} == {"counters"}
        # Each forward emits what it accepts and one token of its own; the end may cut the last.
        assert 0 <= stats.num_steps + stats.num_accepted - stats.num_tokens <= 8
        num_accepted += stats.num_accepted
    assert (num_accepted > 0) == (way != "plain")
    assert AttachedEngine(url).server.speculates == (way != "plain")


def test_vllms_chunks_are_the_steps_that_it_counts(vllm: tuple[str, str]) -> None:
    way, url = vllm
    engine = AttachedEngine(url)
    assert engine.server.kind.name == "vllm" and engine.server.speculates == (way != "plain")
    num_accepted = 0
    for trace in answers(url):
        totals, stats = check_totals(trace), trace.stats
        assert -1 not in trace.token_ids and trace.text
        assert all(one.target_probs for one in trace.of_kind(Observed))
        wanted = {"told": "metrics.speculative_decoding", "counted": "/metrics", "plain": "usage"}
        assert totals.fields[-1] == wanted[way]
        if way == "plain":
            assert (stats.num_steps, stats.num_drafted) == (stats.num_tokens, 0)
            continue
        assert totals.confirms_steps == (way == "told")
        assert stats.num_steps >= totals.told["num_draft_steps"]
        num_accepted += totals.told["num_accepted"]
    assert (num_accepted > 0) == (way != "plain")
