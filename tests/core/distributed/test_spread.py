"""A target whose layers accelerate places gives the ids that it gives in one place.

This machine's memory and its disk stand in for GPUs.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.backends.layer_cache import LayerCache
from core.config import RunConfig
from core.distributed.spread import read_spread_module
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel, load_model
from core.models.sources import ModelSource
from core.trace.events import Accepted
from tests.core.conftest import PROMPT, run

PLACES = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.layers.2": "cpu",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}


@pytest.fixture
def spread_engine(tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    folder = tiny_home / "target"

    def placed(source: ModelSource, dtype: torch.dtype) -> Any:
        return read_spread_module(source, dtype, PLACES, tmp_path / "disk")

    monkeypatch.setattr("core.loading.loading.check_spread", lambda: None)
    monkeypatch.setattr("core.loading.loading.read_spread_module", placed)
    target: LoadedModel = load_model(str(folder), dtype="float32", placement="spread")
    assert "disk" in target.module.hf_device_map.values()
    return Engine(target)


@pytest.mark.parametrize("mode", ["naive", "ngram", "sd-classic"])
def test_layers_in_several_places_give_the_same_ids(
    mode: str, spread_engine: Engine, tiny_home: Path
) -> None:
    plain = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))
    settings: dict[str, Any] = {"mode": mode}
    if mode == "sd-classic":
        settings["draft"] = str(tiny_home / "draft")
        settings["drafter"] = {"fixed_size": True, "branching": 2, "depth": 3}
    spread = run(spread_engine, PROMPT, **settings)
    assert spread.token_ids == run(plain, PROMPT).token_ids
    if mode == "sd-classic":
        assert spread.stats.num_drafted > 0


def test_an_accepted_path_is_moved_where_the_layers_are(
    spread_engine: Engine, tiny_home: Path
) -> None:
    """The target drafts for itself, so that every path is accepted, and some are no chains."""
    drafter = {"fixed_size": True, "branching": 3, "depth": 3, "num_nodes": 9}
    settings = {"mode": "sd-classic", "draft": str(tiny_home / "target"), "drafter": drafter}
    spread = run(spread_engine, PROMPT, **settings)
    paths = [event.path for event in spread.events if isinstance(event, Accepted)]
    assert any(path != list(range(1, len(path) + 1)) for path in paths), "none was moved"
    assert spread.token_ids == run(spread_engine, PROMPT).token_ids


def test_a_layer_s_cache_is_like_what_the_layer_first_writes() -> None:
    cache = LayerCache(10)
    assert cache.storages() == []
    keys, values = torch.ones(1, 2, 3, 4), torch.ones(1, 1, 3, 6, dtype=torch.bfloat16)
    rooms = cache.rooms(1, keys, values)
    assert rooms.keys.shape == (1, 2, 10, 4) and rooms.values.shape == (1, 1, 10, 6)
    assert rooms.values.dtype == torch.bfloat16 and cache.rooms(1, keys, values) is rooms
    rooms.keys[..., 2:6, :] = torch.arange(4.0)[:, None]
    cache.truncate(2)
    cache.keep([0, 2])
    assert rooms.keys[0, 0, 2:4, 0].tolist() == [0.0, 2.0] and cache.length == 4


def test_what_it_cannot_do_is_said(spread_engine: Engine, tiny_home: Path) -> None:
    reason = spread_engine.unavailable_reason("share-sd")
    assert reason is not None and "it is spread over several GPUs" in reason
    with pytest.raises(
        InvalidSettingError, match="spread is for weights file or full on device cuda"
    ):
        RunConfig(spread=True)


def test_one_gpu_is_not_several(tiny_home: Path) -> None:
    if torch.cuda.device_count() > 1:
        pytest.skip("this machine has several")
    with pytest.raises(InvalidSettingError, match="shares the layers among GPUs"):
        load_model(str(tiny_home / "target"), placement="spread")
