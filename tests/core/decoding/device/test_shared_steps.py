"""Batches whose steps the device does together, run on the CPU: each text is that of a run alone."""

import gc
import io
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.config import RunConfig
from core.decoding.device.graph_runner import GraphRunner, StepKind
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.device.readout import Readout
from core.decoding.joining import JoiningRun
from core.drafters.ngram import NgramDrafter
from core.drafters.tree_growth_device import grow
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Committed, Drafted, RunFailed, RunFinished, RunStarted
from core.trace.file import Trace, read_trace, write_trace
from tests.core.conftest import run
from tests.core.decoding.test_batches import (
    PROMPTS,
    assert_joining_runs_have_own_texts,
    ragged,
    run_batch,
)
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
    if mode == "hybrid":  # some are looked up beside others that are grown
        assert any(kind.is_mixed for kind in kinds)


@pytest.mark.parametrize("mode", ["naive", "ngram", "share-sd", "sd-eagle", "hybrid"])
def test_what_is_recorded_is_what_a_run_alone_records(
    mode: str, host: Engine, device: Engine, tiny_home: Path
) -> None:
    """Trees, probabilities and judgements, also at the end, where the others' drafts are deeper."""
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    settings = [{**own, "max_new_tokens": count} for count in (7, 8, 9, 10, 31)]
    for prompt, alone, trace in zip(PROMPTS, settings, run_batch(device, settings, 5), strict=True):
        expected = run(host, prompt, **{**alone, "mode": "naive", "draft": None, "drafter": None})
        assert trace.token_ids == expected.token_ids
        kept = io.StringIO()
        write_trace(trace, kept)
        assert read_trace(kept.getvalue().splitlines()).token_ids == trace.token_ids
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


@pytest.mark.parametrize(
    ("mode", "sampling"),
    [
        ("naive", GREEDY),
        ("ngram", SAMPLED),
        ("sd-eagle", SAMPLED),
        pytest.param("sd-classic", GREEDY, marks=pytest.mark.slow),
    ],
    ids=["naive, greedy", "ngram, sampled", "sd-eagle, sampled", "sd-classic, greedy"],
)
def test_runs_that_join_have_the_text_that_they_have_alone(
    mode: str, sampling: dict[str, Any], host: Engine, device: Engine, tiny_home: Path
) -> None:
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    traces = assert_joining_runs_have_own_texts(device, host, ragged(own, sampling))
    assert not any(map(host_steps, traces))


def test_a_run_with_other_settings_is_left_to_the_host(
    host: Engine, device: Engine, tiny_home: Path
) -> None:
    hotter = {"sampling": {**SAMPLED, "temperature": 1.1}}
    own = mode_settings("sd-eagle", TREE, tiny_home)
    settings: list[dict[str, Any]] = [{}, own, {}, hotter, {"draft_failure": "plain", **own}]
    together = run_batch(device, settings, 5)
    for prompt, alone, trace in zip(PROMPTS, settings, together, strict=True):
        sampling = alone.get("sampling", GREEDY)
        assert trace.token_ids == run(host, prompt, sampling=sampling).token_ids
    told = [host_steps(trace).partition(", for ")[2] for trace in together]
    other = "it has other settings than the runs beside it."
    alone_only = "a drafter that breaks is given up for one sequence alone."
    assert told == ["", other, "", other, alone_only]


def test_a_run_that_may_outgrow_its_place_is_left_to_the_host(
    host: Engine, device: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.engine._JOINING_TOKENS", 0)
    configs = [RunConfig(max_new_tokens=count) for count in (6, 120, 12)]
    waiting = [
        JoiningRun(partial(device.raw_prompt, prompt), config)
        for prompt, config in zip(PROMPTS, configs, strict=False)
    ]
    traces, left = [Trace() for _ in waiting], iter(waiting)
    for index, event in device.run_joining(lambda: next(left, None), 2):
        traces[index].events.append(event)
    for prompt, config, trace in zip(PROMPTS, configs, traces, strict=False):
        expected = run(host, prompt, max_new_tokens=config.max_new_tokens)
        assert trace.token_ids == expected.token_ids
    assert ["longer than the runs beside it" in host_steps(trace) for trace in traces] == [
        False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "num_nodes", "reason"),
    [
        (65, 20, "the device decides for at most 64 sequences together"),
        (64, 200, "trees of 257 rows are too large for so many sequences together"),
    ],
)
def test_what_is_too_much_together_is_left_to_the_host(
    size: int, num_nodes: int, reason: str, host: Engine, device: Engine
) -> None:
    drafter = {**TREE, "bits": 16, "num_nodes": num_nodes, "branching": 16}
    settings = {"mode": "share-sd", "drafter": drafter, "max_new_tokens": 6}
    together = run_batch(device, [settings] * len(PROMPTS), size)
    for prompt, trace in zip(PROMPTS, together, strict=True):
        assert trace.token_ids == run(host, prompt, max_new_tokens=6).token_ids
        assert reason in host_steps(trace)


def test_prompts_that_do_not_fit_take_no_place(host: Engine, device: Engine) -> None:
    """More of them than there are places."""
    config = RunConfig.from_dict({"mode": "ngram", "max_new_tokens": 12})
    texts = [PROMPTS[0], *[PROMPTS[0] * 60] * 3, PROMPTS[1]]
    traces = [Trace() for _ in texts]
    runs = [(device.raw_prompt(text), config) for text in texts]
    for index, event in device.run_batch(runs, 2):
        traces[index].events.append(event)
    for text, trace in zip(texts, traces, strict=True):
        failed = trace.first(RunFailed)
        if text == texts[1]:
            assert failed is not None and "shorten the prompt" in failed.message
        else:
            assert trace.token_ids == run(host, text, max_new_tokens=12).token_ids


@pytest.mark.parametrize("mode", ["naive", "share-sd"])
def test_each_ends_at_its_own_end_token_or_stop_string(
    mode: str, host: Engine, device: Engine, tiny_home: Path
) -> None:
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    whole = [run(host, prompt) for prompt in PROMPTS]
    ends = frozenset({whole[0].token_ids[5], whole[2].token_ids[11]})
    for engine in (host, device):
        engine.target = replace(engine.target, eos_token_ids=ends)
    device._graphs = GraphRunnerCache(ends, compile=False)
    try:
        settings = [{**own, "stop": [trace.text[9:11]]} for trace in whole]
        expected = [
            run(host, prompt, stop=alone["stop"])
            for prompt, alone in zip(PROMPTS, settings, strict=True)
        ]
        together = run_batch(device, settings, 5)
    finally:
        host.target = replace(host.target, eos_token_ids=frozenset())
    for found, alone in zip(together, expected, strict=True):
        assert (found.token_ids, found.text) == (alone.token_ids, alone.text)
        assert reason_of(found) == reason_of(alone)
    assert {reason_of(trace) for trace in together} >= {"eos", "stop_string"}


def reason_of(trace: Trace) -> str:
    finished = trace.first(RunFinished)
    assert finished is not None
    return finished.reason


def test_a_lookup_that_breaks_leaves_the_others(
    host: Engine, device: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, draft = NgramDrafter.begin, NgramDrafter.draft
    unlucky: list[NgramDrafter] = []

    def beginning(self: NgramDrafter, prompt_token_ids: list[int], max_length: int) -> None:
        begin(self, prompt_token_ids, max_length)
        if prompt_token_ids == device.raw_prompt(PROMPTS[2]).token_ids:
            unlucky.append(self)

    def broken(self: NgramDrafter, *given: Any) -> Any:
        if any(self is one for one in unlucky):
            raise RuntimeError("no luck")
        return draft(self, *given)

    monkeypatch.setattr(NgramDrafter, "begin", beginning)
    monkeypatch.setattr(NgramDrafter, "draft", broken)
    together = run_batch(device, [{"mode": "ngram"}] * len(PROMPTS), 5)
    for index, (prompt, trace) in enumerate(zip(PROMPTS, together, strict=True)):
        failed = trace.first(RunFailed)
        if index == 2:
            assert failed is not None and "no luck" in failed.message
        else:
            assert trace.token_ids == run(host, prompt).token_ids


@pytest.mark.parametrize("mode", ["share-sd", "sd-eagle", "sd-classic", "sd-block"])
def test_a_draft_of_no_numbers_ends_its_own_run_alone(
    mode: str, host: Engine, device: Engine, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Any:
        state = given[-1]
        proposals = grow(*given)
        if len(state.length) == 8:
            proposals.are_numbers[1] = False
        return proposals

    monkeypatch.setattr("core.decoding.device.graph_runner.grow", broken)
    together = run_batch(device, [mode_settings(mode, TREE, tiny_home)] * len(PROMPTS), 5)
    for index, (prompt, trace) in enumerate(zip(PROMPTS, together, strict=True)):
        failed = trace.first(RunFailed)
        if index == 1:
            assert failed is not None and failed.error == "BadLogitsError"
        else:
            assert failed is None and trace.token_ids == run(host, prompt).token_ids


def test_the_next_step_is_under_way_when_one_is_read(
    device: Engine, kinds: list[StepKind], tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: list[int] = []
    inner = Readout.numbers

    def numbers(self: Readout, *given: Any) -> Any:
        under_way.append(len(kinds) - len(under_way))
        return inner(self, *given)

    monkeypatch.setattr(Readout, "numbers", numbers)
    own = mode_settings("sd-eagle", TREE, tiny_home)
    run_batch(device, [{**own, "max_new_tokens": 20}] * len(PROMPTS), 5)
    assert under_way.count(2) >= len(under_way) - 6
    under_way.clear()
    kinds.clear()
    run_batch(device, [{"mode": "ngram", "max_new_tokens": 20}] * len(PROMPTS), 5)
    assert set(under_way) == {1}, "whose trees hang on what is read"


def test_places_and_graphs_are_those_of_the_last_batch(device: Engine) -> None:
    for _ in range(2):
        run_batch(device, [{}] * len(PROMPTS), 3)
        assert device._graphs is not None
        pool = device._graphs._pool
        run_batch(device, [{"max_new_tokens": 9, "stop": ["z"]}] * len(PROMPTS), 3)
        assert device._graphs._pool is pool is not None


@pytest.mark.parametrize("mode", ["naive", "sd-eagle"])
def test_the_memory_of_the_last_batch_is_there_for_the_next_one(
    mode: str, device: Engine, tiny_home: Path
) -> None:
    """It is freed at once, and not when Python comes to look for cycles."""
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    short = [{**own, "max_new_tokens": 6}] * len(PROMPTS)
    run_batch(device, short, 5)
    assert device._graphs is not None and device._graphs._pool is not None
    before = weakref.ref(device._graphs._pool.caches.target)
    gc.collect()
    gc.disable()
    try:
        run_batch(device, short, 2)
        assert before() is None
    finally:
        gc.enable()


def test_a_stop_ends_all_and_keeps_what_they_have(device: Engine) -> None:
    seen: list[str] = []
    runs = [(device.raw_prompt(prompt), RunConfig(max_new_tokens=300)) for prompt in PROMPTS]
    traces = [Trace() for _ in runs]
    for index, event in device.run_batch(runs, 5, should_stop=lambda: len(seen) > 60):
        seen.append(event.kind)
        traces[index].events.append(event)
    assert all(reason_of(trace) == "stopped" and 0 < len(trace.token_ids) < 20 for trace in traces)
