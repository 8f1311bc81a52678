"""EAGLE heads with random weights in the published formats: shapes, kernels and refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import cpu_dense
from core.engine import Engine
from core.errors import DrafterUnavailableError
from core.loading.loading import load_model
from core.trace.events import Drafted
from tests.core.conftest import run
from tests.eagle_heads import eagle1_head, eagle3_head

TREE = {"fixed_size": True, "branching": 3, "depth": 4, "num_nodes": 12}


@pytest.fixture(scope="module")
def engine(tiny_home: Path) -> Engine:
    return Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))


@pytest.fixture(scope="module")
def compiled_engine(tiny_home: Path, kernels: Kernels) -> Engine:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=True))
    assert engine.target.kernels is not None
    return engine


@pytest.mark.parametrize("make_head", [eagle3_head, eagle1_head])
def test_a_head_in_a_published_format_drafts_and_changes_nothing(
    make_head: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    draft = make_head(tmp_path / "head", engine.target.module.config)
    plain = run(engine)
    drafted = run(engine, mode="sd-eagle", draft=draft, drafter=TREE)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.num_drafted > 50


def test_compiled_kernels_draft_the_trees_that_torch_drafts(
    engine: Engine, compiled_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("core.backends.cpu.forward", "core.drafters.packing"):
        monkeypatch.setattr(
            f"{module}.cpu_bytes", cpu_dense
        )  # else they are those of other weights
    draft = eagle3_head(tmp_path / "head", engine.target.module.config)
    eager, compiled = (
        [
            (event.token_ids, event.parents)
            for event in run(each, mode="sd-eagle", draft=draft, drafter=TREE).of_kind(Drafted)
        ]
        for each in (engine, compiled_engine)
    )
    assert compiled == eager
    assert len(eager) > 5


def test_a_head_of_other_sizes_is_refused_with_the_tensor_that_misfits(
    engine: Engine, tmp_path: Path
) -> None:
    draft = eagle3_head(tmp_path / "head", engine.target.module.config)
    path = tmp_path / "head" / "config.json"
    told = {**json.loads(path.read_text()), "eagle_aux_hidden_state_layer_ids": [0, 1, 2]}
    path.write_text(json.dumps(told))
    with pytest.raises(DrafterUnavailableError, match=r"fc\.weight has sizes .* of this target\.$"):
        run(engine, mode="sd-eagle", draft=draft)
