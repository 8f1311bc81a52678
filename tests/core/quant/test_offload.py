"""Original weights on disk while the quantized copy drafts."""

import gc
import weakref
from pathlib import Path

import pytest
import torch

from core.backends.torch.forward import TorchForward
from core.config import RunConfig
from core.engine import Engine
from core.loading.loading import load_model
from core.quant.offload import OriginalWeights
from core.quant.stack import dense_of
from core.trace.events import RunStarted
from tests.core.conftest import run

OFFLOADED = {
    "mode": "share-sd",
    "drafter": {"bits": 4, "group_size": 32, "offload": True, "fixed_size": True, "depth": 3},
}


def test_an_offloaded_run_gives_the_same_text_with_fewer_bytes_and_plain_runs_go_on(
    tiny_home: Path,
) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))
    plain = run(engine)
    trace = run(engine, **OFFLOADED)
    started = trace.first(RunStarted)
    assert trace.token_ids == plain.token_ids
    assert started is not None and started.draft is not None
    assert started.draft["originals"] == "disk"
    assert started.target["place"] == "disk"
    assert started.target["num_bytes"] < engine.target.identity.num_bytes / 2
    assert run(engine, **OFFLOADED).token_ids == plain.token_ids, "the files are there still"
    assert run(engine).token_ids == plain.token_ids
    again = run(engine).first(RunStarted)
    assert again is not None and "place" not in again.target


@pytest.mark.parametrize("compile", [False, None])
def test_the_weights_leave_memory_and_come_back_bit_for_bit(
    compile: bool | None, tiny_home: Path, tmp_path: Path
) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=compile))
    forward = engine._backend.forward
    assert isinstance(forward, TorchForward)
    weights = OriginalWeights(forward, tmp_path / "offload")
    before = [dense_of(linear) for linear in forward.stack.linears()]
    weights.to_disk()
    assert len(list((tmp_path / "offload").glob("*/*.dat"))) == 12, "a file for each fused linear"
    weights.to_memory()
    assert list((tmp_path / "offload").iterdir()) == []
    for linear, old in zip(forward.stack.linears(), before, strict=True):
        new = dense_of(linear)
        assert new is not None and old is not None and torch.equal(new.weight, old.weight)


@pytest.mark.parametrize("compile", [False, None])
def test_nobody_holds_on_to_weights_on_disk(
    compile: bool | None, tiny_home: Path, tmp_path: Path
) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=compile))
    forward = engine._backend.forward
    assert isinstance(forward, TorchForward)
    list(engine.run(engine.raw_prompt("hello"), RunConfig(max_new_tokens=2)))
    linears = [weakref.ref(linear) for linear in forward.stack.linears()[:-1]]
    OriginalWeights(forward, tmp_path / "offload").to_disk()
    gc.collect()
    assert [linear() for linear in linears] == [None] * len(linears)
