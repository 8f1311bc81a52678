"""Steps that the device does alone, run on the CPU: the text and the trace of the host's steps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.backends.runner import ModelRunner
from core.config import RunConfig
from core.decoding.device.graph_runner import GraphRunner
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.device.readout import Readout
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    Prefilled,
    RunFinished,
    RunStarted,
    Verified,
)
from core.trace.file import Trace
from tests.core.conftest import PROMPT, run
from tests.core.decoding.test_modes import (
    CHAIN,
    GREEDY,
    MODES,
    SAMPLED,
    TREE,
    EngineOf,
    in_two_shapes,
    mode_settings,
)


@pytest.fixture
def engines_of(
    engine_of: EngineOf, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Engine, Engine]]:
    """Two engines over one target: the host decides the steps of one, and nobody the other's."""

    def make() -> tuple[Engine, Engine]:
        host = engine_of("float32")
        monkeypatch.setattr(
            "core.engine.make_graph_runner_cache",
            lambda target, forward: GraphRunnerCache(target.eos_token_ids, compile=False),
        )
        # Probabilities that differ by a rounding may put another node into a tree.
        monkeypatch.setattr("core.backends.logit_facts.loaded_kernels", lambda: None)
        target = load_model(str(tiny_home / "target"), dtype="float32", compile=False)
        return host, Engine(target)

    return make


def drafts(trace: Trace) -> list[tuple[Any, ...]]:
    return [
        (event.token_ids, event.parents, event.depths)
        for event in trace.events
        if isinstance(event, Drafted)
    ]


def judgements(trace: Trace) -> list[tuple[Any, ...]]:
    return [
        (event.path, event.tested, event.next_token_id, event.next_source)
        for event in trace.events
        if isinstance(event, Accepted)
    ]


def assert_recorded_alike(found: Trace, expected: Trace) -> None:
    """Top tokens and probabilities of drafter and target at every node."""
    for one, other in zip(found.events, expected.events, strict=True):
        if isinstance(one, Drafted):
            assert one.top_k_token_ids == other.top_k_token_ids
            assert flat(one.top_k_probs) == pytest.approx(flat(other.top_k_probs), abs=5e-3)
        if isinstance(one, Verified):
            assert one.top_k_token_ids == other.top_k_token_ids
            assert one.target_probs == pytest.approx(other.target_probs, abs=1e-4)
            assert one.entropies_nats == pytest.approx(other.entropies_nats, abs=1e-3)
        if isinstance(one, Accepted):
            assert one.next_prob == pytest.approx(other.next_prob, abs=1e-4)
            assert one.noises == pytest.approx(other.noises, abs=1e-3)
            assert [value is None for value in one.thresholds] == [
                value is None for value in other.thresholds
            ]


def flat(lists: list[list[float]]) -> list[float]:
    return [value for values in lists for value in values]


def test_a_run_ends_at_an_end_token_and_a_stop_keeps_what_was_told(
    engines_of: Callable[[], tuple[Engine, Engine]],
) -> None:
    host, device = engines_of()
    whole = run(host)
    last = whole.token_ids[12]
    for engine in (host, device):
        engine.target = replace(engine.target, eos_token_ids=frozenset({last}))
    device._graphs = GraphRunnerCache(frozenset({last}), compile=False)
    drafter = {"bits": 16, "depth": 4, "fixed_size": True}
    expected = run(host, mode="share-sd", drafter=drafter)
    found = run(device, mode="share-sd", drafter=drafter)
    host.target = replace(host.target, eos_token_ids=frozenset())
    assert (
        found.token_ids == expected.token_ids == whole.token_ids[: whole.token_ids.index(last) + 1]
    )
    ends = [trace.events[-1] for trace in (found, expected)]
    assert [end.reason for end in ends if isinstance(end, RunFinished)] == ["eos", "eos"]


def test_the_host_decides_under_corrections_and_the_run_says_so(
    engines_of: Callable[[], tuple[Engine, Engine]],
) -> None:
    host, device = engines_of()
    sampling = {"repetition_penalty": 1.2, "ignore_eos": True}
    found, expected = run(device, sampling=sampling), run(host, sampling=sampling)
    assert found.token_ids == expected.token_ids
    told = [trace.first(RunStarted).target.get("host_steps") for trace in (found, expected)]
    assert told == [
        "The host decides the steps of this run, for only the host corrects logits by "
        "repetition_penalty, ignore_eos.",
        None,
    ]


@pytest.mark.parametrize("sampling", [GREEDY, {**SAMPLED, "min_p": 0.05}], ids=["greedy", "drawn"])
def test_the_device_narrows_by_min_p_and_ends_at_a_stop_string(
    sampling: dict[str, Any], engines_of: Callable[[], tuple[Engine, Engine]]
) -> None:
    host, device = engines_of()
    stop = run(host, sampling=sampling).text[12:15]
    settings = {
        "sampling": sampling, "mode": "share-sd", "drafter": {"bits": 16, **TREE}, "stop": [stop],
    }  # fmt: skip
    found, expected = run(device, **settings), run(host, **settings)
    assert found.token_ids == expected.token_ids and found.text == expected.text
    ends = [trace.events[-1] for trace in (found, expected)]
    assert [end.stop for end in ends if isinstance(end, RunFinished)] == [stop, stop]
    assert found.first(RunStarted).target.get("host_steps") is None
    # The next run starts from a cache that holds more than was told.
    assert run(device, sampling=sampling).token_ids == run(host, sampling=sampling).token_ids


def test_what_was_decoded_after_a_stop_is_not_taken_for_committed(
    engines_of: Callable[[], tuple[Engine, Engine]],
) -> None:
    """The device is a step ahead when the run is stopped; the next run starts from what was told."""
    host, device = engines_of()
    prompt = device.raw_prompt(PROMPT)
    config = RunConfig.from_dict({"max_new_tokens": 40})
    told: list[int] = []

    def should_stop() -> bool:
        return len(told) >= 5

    for event in device.run(prompt, config, should_stop=should_stop):
        told.extend(event.token_ids if isinstance(event, Committed) else [])
    expected = run(host).token_ids
    assert told == expected[: len(told)]
    longer = device.raw_prompt(PROMPT)
    longer = longer._replace(token_ids=[*prompt.token_ids, *told])
    rest = replace(config, max_new_tokens=40 - len(told))
    events = list(device.run(longer, rest))
    prefilled = next(event for event in events if isinstance(event, Prefilled))
    assert prefilled.num_reused == len(longer.token_ids) - 1
    assert Trace(events).token_ids == expected[len(told) :]


@pytest.mark.parametrize("mode", ["sd-classic", "hybrid"])
def test_the_next_turn_finds_the_last_answer_in_the_draft_models_cache(
    mode: str,
    engines_of: Callable[[], tuple[Engine, Engine]],
    tiny_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hybrid's draft model once read the whole answer anew, as nobody told it what it had seen."""
    _, device = engines_of()
    own = {"min_match": 64} if mode == "hybrid" else {}  # so that the lookup never drafts
    settings = {"mode": mode, "draft": str(tiny_home / "draft"), "drafter": {**CHAIN, **own}}
    config = RunConfig.from_dict({"max_new_tokens": 60, **settings})
    prompt = device.raw_prompt(PROMPT)
    answer: list[int] = []
    for event in device.run(prompt, config, should_stop=lambda: len(answer) >= 20):
        answer.extend(event.token_ids if isinstance(event, Committed) else [])
    reused: list[int] = []
    begin = ModelRunner.begin

    def watched(self: ModelRunner, *given: Any) -> int:
        reused.append(begin(self, *given))
        return reused[-1]

    monkeypatch.setattr(ModelRunner, "begin", watched)
    longer = prompt._replace(token_ids=[*prompt.token_ids, *answer, prompt.token_ids[0]])
    list(device.run(longer, replace(config, max_new_tokens=8)))
    by_target, by_draft = reused
    assert by_target == len(longer.token_ids) - 2, (
        "all but the answer's last token, and the new one"
    )
    assert by_target - CHAIN["depth"] <= by_draft <= by_target


def test_a_drafter_that_breaks_leaves_the_run_plain_where_that_is_set(
    engines_of: Callable[[], tuple[Engine, Engine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, device = engines_of()
    expected = run(host).token_ids

    def broken(*given: object) -> None:
        raise RuntimeError("the drafter broke")

    monkeypatch.setattr("core.drafters.device_drafting.SharedCacheDrafter.root", broken)
    settings = {"mode": "share-sd", "drafter": {"bits": 16, "fixed_size": True}}
    trace = run(device, draft_failure="plain", **settings)
    assert trace.token_ids == expected
    assert any("drafter broke" in getattr(event, "message", "") for event in trace.events)


@in_two_shapes
@pytest.mark.parametrize("mode", MODES)
def test_steps_equal_those_of_the_host(
    mode: str,
    shape: dict[str, Any],
    sampling: dict[str, Any],
    engines_of: Callable[[], tuple[Engine, Engine]],
    tiny_home: Path,
) -> None:
    host, device = engines_of()
    settings = mode_settings(mode, shape, tiny_home)
    expected = run(host, sampling=sampling, **settings)
    found = run(device, sampling=sampling, **settings)
    assert found.token_ids == expected.token_ids
    if mode != "hybrid":  # which of its drafters goes next depends on the clock
        assert drafts(found) == drafts(expected)
        assert judgements(found) == judgements(expected)
        assert_recorded_alike(found, expected)


def order_of(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[list[str], Trace]:
    """In which verifications are started and results are read."""
    order: list[str] = []

    def told(kind: type, name: str, word: str) -> None:
        inner = getattr(kind, name)

        def tell(*arguments: Any) -> Any:
            order.append(word)
            return inner(*arguments)

        monkeypatch.setattr(kind, name, tell)

    told(GraphRunner, "verify", "start")
    told(Readout, "numbers", "read")
    return order, run(engine, **settings)


def test_the_next_step_is_under_way_when_one_is_read_and_none_is_started_in_vain(
    engines_of: Callable[[], tuple[Engine, Engine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, device = engines_of()
    order, trace = order_of(device, monkeypatch, max_new_tokens=6)
    assert len(trace.token_ids) == 6
    assert order == ["start", *["start", "read"] * 5, "read"]


def test_a_step_whose_tree_the_host_makes_waits_for_the_last_one(
    engines_of: Callable[[], tuple[Engine, Engine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, device = engines_of()
    order, _ = order_of(device, monkeypatch, mode="ngram")
    assert order == ["start", "read"] * (len(order) // 2)


def test_a_drafters_steps_are_under_way_as_well(
    engines_of: Callable[[], tuple[Engine, Engine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, device = engines_of()
    drafter = {"bits": 16, "depth": 4, "fixed_size": True}
    order, trace = order_of(device, monkeypatch, mode="share-sd", drafter=drafter)
    assert order[:3] == ["start", "start", "read"]
    assert order.count("start") == order.count("read") == trace.stats.num_steps
