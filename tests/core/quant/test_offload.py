"""Original weights on disk while the quantized copy drafts."""

from pathlib import Path

import torch

from core.engine import Engine
from core.events import RunStarted
from core.lean.forward import LeanForward
from core.models.loading import load_model
from core.quant.offload import OriginalWeights
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


def test_the_weights_leave_memory_and_come_back_bit_for_bit(
    tiny_home: Path, tmp_path: Path
) -> None:
    model = load_model(str(tiny_home / "target"), dtype="bfloat16")
    before = {name: value.clone() for name, value in model.module.named_parameters()}
    engine = Engine(model)
    forward = engine._backend.forward
    assert isinstance(forward, LeanForward)
    weights = OriginalWeights(model.module, forward, tmp_path / "offload")
    weights.to_disk()
    left = sum(value.numel() for name, value in model.module.named_parameters() if "proj" in name)
    assert left == 0
    assert len(list((tmp_path / "offload").glob("*/*.dat"))) == 12, "a file for each fused linear"
    weights.to_memory()
    assert list((tmp_path / "offload").iterdir()) == []
    for name, value in model.module.named_parameters():
        assert torch.equal(value, before[name]), name
