"""EAGLE heads with random weights in the published formats: shapes, kernels and refusals."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from core.drafters.eagle_head import EagleHead, HeadShape, write_parts
from core.engine import Engine
from core.errors import DrafterUnavailableError
from core.events import Drafted
from core.models.loading import load_model
from tests.core.conftest import run

HAS_COMPILER = shutil.which("c++") is not None or shutil.which("g++") is not None
DRAFT_VOCAB = 96
TREE = {"fixed_size": True, "branching": 3, "depth": 4, "num_nodes": 12}


@pytest.fixture(scope="module")
def engines(tiny_home: Path) -> dict[bool, Engine]:
    """The tiny target by whether its kernels are compiled."""
    name = str(tiny_home / "target")
    return {
        compile: Engine(load_model(name, dtype="float32", compile=compile))
        for compile in ((False, True) if HAS_COMPILER else (False,))
    }


def eagle3_head(folder: Path, engine: Engine) -> str:
    config = engine.target.module.config
    shape = HeadShape(
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        intermediate_size=2 * config.hidden_size,
        draft_vocab_size=DRAFT_VOCAB,
        vocab_size=config.vocab_size,
        num_features=2,
        norm_eps=1e-5,
    )
    torch.manual_seed(0)
    head = EagleHead(shape)
    head.set_vocabulary(torch.arange(DRAFT_VOCAB) * 2)
    folder.mkdir()
    write_parts(dict(head.state_dict()), folder, {}, 1 << 24)
    (folder / "config.json").write_text(json.dumps({"feature_layers": [0, 2]}))
    return str(folder)


def eagle1_head(folder: Path, engine: Engine) -> str:
    """The names of EAGLE-1 and -2: a layer without a first norm, the target's own head."""
    config = engine.target.module.config
    hidden, inner = config.hidden_size, 2 * config.hidden_size
    keys = hidden // config.num_attention_heads * config.num_key_value_heads
    torch.manual_seed(0)
    sizes = {
        "fc.weight": (hidden, 2 * hidden),
        "fc.bias": (hidden,),
        "layers.0.self_attn.q_proj.weight": (hidden, hidden),
        "layers.0.self_attn.k_proj.weight": (keys, hidden),
        "layers.0.self_attn.v_proj.weight": (keys, hidden),
        "layers.0.self_attn.o_proj.weight": (hidden, hidden),
        "layers.0.mlp.gate_proj.weight": (inner, hidden),
        "layers.0.mlp.up_proj.weight": (inner, hidden),
        "layers.0.mlp.down_proj.weight": (hidden, inner),
        "layers.0.post_attention_layernorm.weight": (hidden,),
    }
    folder.mkdir()
    tensors = {name: 0.1 * torch.randn(size) for name, size in sizes.items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text("{}")
    return str(folder)


@pytest.mark.parametrize("make_head", [eagle3_head, eagle1_head])
def test_a_head_in_a_published_format_drafts_and_changes_nothing(
    make_head: object, engines: dict[bool, Engine], tmp_path: Path
) -> None:
    engine = engines[False]
    draft = make_head(tmp_path / "head", engine)  # type: ignore[operator]
    plain = run(engine)
    drafted = run(engine, mode="sd-eagle", draft=draft, drafter=TREE)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.num_drafted > 50


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_compiled_kernels_draft_the_trees_that_torch_drafts(
    engines: dict[bool, Engine], tmp_path: Path
) -> None:
    draft = eagle3_head(tmp_path / "head", engines[False])
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
    draft = eagle3_head(tmp_path / "head", engines[False])
    (tmp_path / "head" / "config.json").write_text(json.dumps({"feature_layers": [0, 1, 2]}))
    with pytest.raises(DrafterUnavailableError, match=r"fc\.weight has sizes .* of this target\.$"):
        run(engines[False], mode="sd-eagle", draft=draft)
