"""Memory or the GPU fails in the middle of a step: what was emitted stays, the next run is whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.backends.kv_cache import TreeCache
from core.backends.torch.forward import TorchForward
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import RunFailed
from core.trace.file import Trace
from tests.core.conftest import run
from tests.faults.test_drafter_breaks import events_of
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model

ERRORS: list[tuple[BaseException, str]] = [
    (MemoryError(), "The memory does not suffice"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), "The memory does"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), "The memory"),
    (RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might"),
     "The GPU failed (CUDA error: an illegal memory access was encountered)"),
]  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))
    save_tiny_model(tmp_path / "target")
    yield Engine(load_model(str(tmp_path / "target"), dtype="float32", compile=False))


@pytest.mark.parametrize(("error", "told"), ERRORS, ids=[type(e).__name__ for e, _ in ERRORS])
@pytest.mark.parametrize("mode", ["naive", "ngram", "share-sd"])
@pytest.mark.parametrize("is_late", [False, True], ids=["before the work", "after it"])
def test_a_forward_that_fails_ends_the_run_and_nothing_else(
    engine: Engine,
    error: BaseException,
    told: str,
    mode: str,
    is_late: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = run(engine)
    drafter = {"group_size": 32, "fixed_size": True, "depth": 3} if mode == "share-sd" else None
    settings: dict[str, Any] = {"mode": mode, "drafter": drafter}
    whole = run(engine, **settings)
    forward, num_calls = TorchForward.__call__, 0

    def failing(self: Any, *args: Any, **named: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 7 and not is_late:
            raise error
        done = forward(self, *args, **named)
        if num_calls == 7:
            raise error
        return done

    with monkeypatch.context() as patch:
        patch.setattr(TorchForward, "__call__", failing)
        engine.forget()
        trace = Trace(events_of(engine, **settings))
    assert isinstance(failed := trace.events[-1], RunFailed)
    assert failed.message.startswith(told) and "\n" not in failed.message
    assert failed.error == type(error).__name__
    assert failed.totals["num_tokens"] == len(trace.token_ids) > 0
    assert trace.token_ids == plain.token_ids[: len(trace.token_ids)]
    assert run(engine, **settings).token_ids == whole.token_ids == plain.token_ids


def test_nothing_is_written_to_a_gpu_that_is_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(TorchForward, "__call__", lost)
    monkeypatch.setattr(TreeCache, "wipe", lost)
    failed = events_of(engine)[-1]
    assert isinstance(failed, RunFailed) and failed.message.startswith("The GPU failed")
    assert not engine.is_usable


def test_what_breaks_at_the_very_end_is_a_failed_run_as_well(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(engine)
    monkeypatch.setattr("core.decoding.run_events.peak_memory_bytes", _broken)
    events = events_of(engine)
    assert isinstance(events[-1], RunFailed) and events[-1].message == "no counter"
    assert Trace(events).token_ids == whole.token_ids


def test_what_breaks_before_the_first_event_is_raised(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.decoding.run_start.describe_device", _broken)
    with pytest.raises(RuntimeError, match="no counter"):
        events_of(engine)


def _broken(*given: object) -> Any:
    raise RuntimeError("no counter")
