"""What is known of the cost of forwards, and told where a run begins."""

from pathlib import Path
from typing import Any

import pytest

from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Drafted, RunStarted
from core.trace.file import Trace
from tests.core.conftest import run

FIXED = {"mode": "ngram", "drafter": {"fixed_size": True}}
SIZED = {"mode": "ngram"}


def forward_ms(trace: Trace) -> Any:
    started = trace.first(RunStarted)
    assert started is not None
    return started.target.get("forward_ms")


def test_a_run_of_fixed_size_measures_nothing_and_tells_what_was_measured(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.backends.cost_curve._STEADY_RATIO", 1e9)
    monkeypatch.setattr("core.backends.cost_curve._STEADY_SHARE", 0.0)
    target = load_model(str(tiny_home / "target"), dtype="float32", compile=False)
    engine = Engine(target)
    first = run(engine, **FIXED)
    assert forward_ms(first) is None
    assert forward_ms(run(engine)) is None
    measured = forward_ms(run(engine, **SIZED))
    assert measured["1"] > 0
    second = run(engine, **FIXED)
    assert forward_ms(second) == forward_ms(run(engine)) == measured
    assert forward_ms(run(Engine(target), **FIXED)) == measured, "it was kept on disk"
    trees = [[event.parents for event in trace.of_kind(Drafted)] for trace in (first, second)]
    assert trees[0] == trees[1], "it is told, and sizes no tree"
