"""Batches whose steps the device does together, run on the CPU: each text is that of a run alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.config import RunConfig
from core.decoding.device.graph_runner import GraphRunner, StepKind
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.joining import JoiningRun
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Committed, Drafted, RunFinished, RunStarted
from core.trace.file import Trace
from tests.core.conftest import run
from tests.core.decoding.test_batches import PROMPTS, ragged, run_batch
from tests.core.decoding.test_modes import (
    GREEDY,
    MODES,
    SAMPLED,
    TREE,
    EngineOf,
    in_two_shapes,
    mode_settings,
)

LEFT_TO_THE_HOST = {
    "hybrid": "mode hybrid chooses for each sequence what drafts",
    "sd-medusa": "what drafts in it has no form for the device",  # a layer in front of the heads
}


@pytest.fixture
def host(engine_of: EngineOf) -> Engine:
    """An engine over the same target, whose steps the host decides."""
    return engine_of("float32")


@pytest.fixture
def device(host: Engine, tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine whose steps nobody decides."""
    monkeypatch.setattr(
        "core.engine.make_graph_runner_cache",
        lambda target, forward: GraphRunnerCache(target.eos_token_ids, compile=False),
    )
    return Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> list[StepKind]:
    """The kinds of all steps that the device starts."""
    found: list[StepKind] = []
    inner = GraphRunner.verify

    def verify(self: GraphRunner, kind: StepKind) -> bool:
        found.append(kind)
        return inner(self, kind)

    monkeypatch.setattr(GraphRunner, "verify", verify)
    return found


def host_steps(trace: Trace) -> str:
    """Why the host decided; empty where the device did."""
    started = trace.first(RunStarted)
    assert started is not None
    return str(started.target.get("host_steps", ""))


@in_two_shapes
@pytest.mark.parametrize("mode", ["naive", *MODES])
def test_every_sequence_has_the_text_that_it_has_alone(
    mode: str,
    shape: dict[str, Any],
    sampling: dict[str, Any],
    host: Engine,
    device: Engine,
    kinds: list[StepKind],
    tiny_home: Path,
) -> None:
    own = {} if mode == "naive" else mode_settings(mode, shape, tiny_home)
    settings = ragged(own, sampling)
    together = run_batch(device, settings)
    for prompt, alone, trace in zip(PROMPTS, settings, together, strict=True):
        plain = {name: alone[name] for name in ("max_new_tokens", "sampling")}
        assert trace.token_ids == run(host, prompt, **plain).token_ids
        assert trace.first(RunFinished)
        assert LEFT_TO_THE_HOST.get(mode, "") in host_steps(trace)
        assert bool(host_steps(trace)) == (mode in LEFT_TO_THE_HOST)
    if mode in LEFT_TO_THE_HOST:
        return
    assert {kind.sequences for kind in kinds} == {1, 2, 4}
    assert sum(kind.sequences for kind in kinds) > len(kinds)
    if mode != "naive":
        assert sum(trace.stats.num_drafted for trace in together) > 0


@pytest.mark.parametrize("mode", ["naive", "ngram", "share-sd", "sd-eagle"])
def test_what_is_recorded_is_what_a_run_alone_records(
    mode: str, host: Engine, device: Engine, tiny_home: Path
) -> None:
    """Trees, probabilities and judgements, also at the end, where the others' drafts are deeper."""
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    settings = [{**own, "max_new_tokens": count} for count in (7, 8, 9, 10, 31)]
    for prompt, alone, trace in zip(PROMPTS, settings, run_batch(device, settings, 5), strict=True):
        expected = run(host, prompt, **{**alone, "mode": "naive", "draft": None, "drafter": None})
        assert trace.token_ids == expected.token_ids
        chosen, wanted = probabilities(trace), probabilities(expected)
        assert chosen == pytest.approx(wanted, abs=1e-4)
        remaining = alone["max_new_tokens"]
        for event in trace.events:
            if isinstance(event, Drafted):
                assert max(event.depths) < remaining
            remaining -= len(event.token_ids) if isinstance(event, Committed) else 0


def probabilities(trace: Trace) -> list[float]:
    """The target's, of all tokens that were emitted."""
    found: list[float] = []
    of_nodes: list[float] = []
    for event in trace.events:
        if event.kind == "verified":
            of_nodes = event.target_probs
        elif event.kind == "accepted":
            found += [of_nodes[node] for node in event.path]
            found += [event.next_prob] if event.next_prob is not None else []
    return found


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("mode", ["naive", "ngram", "sd-eagle", "sd-classic"])
def test_runs_that_join_have_the_text_that_they_have_alone(
    mode: str, sampling: dict[str, Any], host: Engine, device: Engine, tiny_home: Path
) -> None:
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    configs = [RunConfig.from_dict(values) for values in ragged(own, sampling)]
    traces: list[Trace] = []

    def next_run() -> JoiningRun | None:
        """One comes with every second step of those that run, and at once where none does."""
        if len(traces) == len(PROMPTS):
            return None
        count = sum(trace.stats.num_steps for trace in traces)
        if count < 2 * len(traces) and not all(trace.first(RunFinished) for trace in traces):
            return None
        traces.append(Trace())
        index = len(traces) - 1
        return JoiningRun(partial(device.raw_prompt, PROMPTS[index]), configs[index])

    for index, event in device.run_joining(next_run, 3):
        traces[index].events.append(event)
    for prompt, config, trace in zip(PROMPTS, configs, traces, strict=True):
        assert trace.first(RunFinished) and not host_steps(trace)
        plain = {"max_new_tokens": config.max_new_tokens, "sampling": config.sampling.to_dict()}
        assert trace.token_ids == run(host, prompt, **plain).token_ids
