"""EAGLE heads with random weights in the published formats: shapes, kernels and refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.engine import Engine
from core.errors import DrafterUnavailableError
from core.events import Drafted
from core.models.loading import load_model
from tests.core.conftest import run
from tests.eagle_heads import eagle1_head, eagle3_head

HAS_COMPILER = shutil.which("c++") is not None or shutil.which("g++") is not None
TREE = {"fixed_size": True, "branching": 3, "depth": 4, "num_nodes": 12}


@pytest.fixture(scope="module")
def engines(tiny_home: Path) -> dict[bool, Engine]:
    """The tiny target by whether its kernels are compiled."""
    name = str(tiny_home / "target")
    return {
        compile: Engine(load_model(name, dtype="float32", compile=compile))
        for compile in ((False, True) if HAS_COMPILER else (False,))
    }


@pytest.mark.parametrize("make_head", [eagle3_head, eagle1_head])
def test_a_head_in_a_published_format_drafts_and_changes_nothing(
    make_head: Callable[..., str], engines: dict[bool, Engine], tmp_path: Path
) -> None:
    engine = engines[False]
    draft = make_head(tmp_path / "head", engine.target.module.config)
    plain = run(engine)
    drafted = run(engine, mode="sd-eagle", draft=draft, drafter=TREE)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.num_drafted > 50


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_compiled_kernels_draft_the_trees_that_torch_drafts(
    engines: dict[bool, Engine], tmp_path: Path
) -> None:
    draft = eagle3_head(tmp_path / "head", engines[False].target.module.config)
    eager, compiled = (
        [
            (event.token_ids, event.parents)
            for event in run(engine, mode="sd-eagle", draft=draft, drafter=TREE).of_kind(Drafted)
        ]
        for engine in engines.values()
    )
    assert compiled == eager
    assert len(eager) > 5


def test_a_head_of_other_sizes_is_refused_with_the_tensor_that_misfits(
    engines: dict[bool, Engine], tmp_path: Path
) -> None:
    draft = eagle3_head(tmp_path / "head", engines[False].target.module.config)
    (tmp_path / "head" / "config.json").write_text(json.dumps({"feature_layers": [0, 1, 2]}))
    with pytest.raises(DrafterUnavailableError, match=r"fc\.weight has sizes .* of this target\.$"):
        run(engines[False], mode="sd-eagle", draft=draft)
