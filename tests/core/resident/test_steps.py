"""Steps that the device does alone, run on the CPU: the text and the trace of the host's steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.engine import Engine
from core.events import Accepted, Drafted
from core.models.loading import load_model
from core.resident.workshop import ResidentWorkshop
from core.trace import Trace
from tests.core.conftest import run
from tests.core.test_modes import CHAIN, GREEDY, MODES, SAMPLED, TREE, EngineOf, mode_settings


@pytest.fixture
def resident_of(
    engine_of: EngineOf, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Engine, Engine]]:
    """Two engines over one target: the host decides the steps of one, and nobody the other's."""

    def make() -> tuple[Engine, Engine]:
        host = engine_of("float32")
        monkeypatch.setattr(
            "core.engine.make_resident",
            lambda target, forward: ResidentWorkshop(target.eos_token_ids, compile=False),
        )
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


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("mode", MODES)
def test_steps_equal_those_of_the_host(
    mode: str,
    shape: dict[str, Any],
    sampling: dict[str, Any],
    resident_of: Callable[[], tuple[Engine, Engine]],
    tiny_home: Path,
) -> None:
    host, resident = resident_of()
    settings = mode_settings(mode, shape, tiny_home)
    expected = run(host, sampling=sampling, **settings)
    found = run(resident, sampling=sampling, **settings)
    assert found.token_ids == expected.token_ids
    if mode != "hybrid":  # which of its drafters goes next depends on the clock
        assert drafts(found) == drafts(expected)
        assert judgements(found) == judgements(expected)
