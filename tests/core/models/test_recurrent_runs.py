"""Whole runs of models whose layers keep a state: chats, stops, breaks and settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config import RunConfig
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Drafted, Prefilled, RunFailed, RunStarted
from core.trace.file import Trace
from tests.core.conftest import PROMPT, run
from tests.core.models.every_mode import random_module, small_configuration
from tests.core.models.folders import save_module

NGRAM = {"mode": "ngram", "drafter": {"fixed_size": True, "num_nodes": 6}}


@pytest.fixture(scope="module", params=["rwkv", "falcon_h1"])
def recurrent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model."""
    folder = tmp_path_factory.mktemp(request.param)
    return save_module(folder, random_module(small_configuration(request.param)))


def engine_of(name: str) -> Engine:
    return Engine(load_model(name, dtype="float32", compile=False))


def check_chains(trace: Trace) -> None:
    assert trace.stats.num_drafted > 0
    for event in trace.events:
        if isinstance(event, Drafted):
            assert event.parents == list(range(-1, len(event.parents) - 1))


def test_drafts_are_chains_whatever_is_set_and_the_trace_says_so(
    recurrent: str, tiny_home: Path
) -> None:
    engine = engine_of(recurrent)
    drafts: dict[str, dict[str, Any]] = {
        "ngram": {},
        "sd-classic": {"draft": str(tiny_home / "draft"), "drafter": {"branching": 3}},
        "hybrid": {"draft": str(tiny_home / "draft"), "drafter": {"branching": 3, "min_match": 1}},
    }
    for mode, settings in drafts.items():
        fixed = {**settings.get("drafter", {}), "fixed_size": True}
        trace = run(engine, PROMPT, mode=mode, **{**settings, "drafter": fixed})
        started = trace.events[0]
        assert isinstance(started, RunStarted) and started.config["drafter"]["branching"] == 1
        check_chains(trace)
    other = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))
    drafter = {"branching": 3, "fixed_size": True}
    check_chains(run(other, PROMPT, mode="sd-classic", draft=recurrent, drafter=drafter))


def num_reused(trace: Trace) -> int:
    return next(event.num_reused for event in trace.events if isinstance(event, Prefilled))


def test_turns_of_a_chat_go_on_behind_the_last_answer(recurrent: str) -> None:
    engine = engine_of(recurrent)
    first = run(engine, PROMPT, **NGRAM)
    answer = engine.target.tokenizer.decode(first.token_ids[:20])
    second = run(engine, PROMPT + answer + " And then? ", **NGRAM)
    assert num_reused(second) >= len(engine.raw_prompt(PROMPT).token_ids) - 1
    fresh = run(engine_of(recurrent), PROMPT + answer + " And then? ")
    assert num_reused(fresh) == 0 and second.token_ids == fresh.token_ids


def test_a_run_that_is_stopped_or_breaks_leaves_the_next_one_right(
    recurrent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(recurrent)
    expected = run(engine, PROMPT).token_ids
    config = RunConfig.from_dict({"max_new_tokens": 40, **NGRAM})
    told: Iterator[Any] = engine.run(engine.raw_prompt(PROMPT), config)
    for event in told:
        if isinstance(event, Drafted) and event.step == 3:
            break
    del told
    assert run(engine, PROMPT, **NGRAM).token_ids == expected
    head = engine.target.module.get_output_embeddings()
    whole, calls = head.forward, iter(range(100))

    def breaks_once(states: torch.Tensor) -> torch.Tensor:
        if next(calls) == 4:
            raise RuntimeError("no memory")
        logits: torch.Tensor = whole(states)
        return logits

    monkeypatch.setattr(head, "forward", breaks_once)
    events = list(engine.run(engine.raw_prompt(PROMPT), config))
    assert isinstance(events[-1], RunFailed)
    after = run(engine, PROMPT, **NGRAM)
    assert after.token_ids == expected and num_reused(after) == 0


def test_drafts_of_measured_size_change_nothing(recurrent: str) -> None:
    engine = engine_of(recurrent)
    assert run(engine, PROMPT, mode="ngram").token_ids == run(engine, PROMPT).token_ids
