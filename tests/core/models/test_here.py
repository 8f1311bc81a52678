"""Models that are on this machine, and those of them that can draft for a target."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from core.loading.fitting_drafts import fitting_drafts
from core.models.here import models_here, neighbours
from tests.tiny_folder import byte_tokenizer, save_tiny_model
from tests.tiny_models import tiny_model

COMMIT = "0" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this program and of the hub's library."""
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fetched(cache: Path, owner: str, name: str) -> Path:
    """A model as the hub's library leaves it in its cache."""
    repo = cache / f"models--{owner}--{name}"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    shutil.copytree(save_tiny_model(cache.parent / "made"), snapshot)
    return snapshot


def save_small_model(folder: Path, *, first_id: int = 0) -> str:
    """With one layer; see `save_tiny_model`."""
    module = tiny_model("llama", torch.float32)
    module.model.layers = module.model.layers[:1]
    module.config.num_hidden_layers = 1
    module.config.layer_types = None
    module.save_pretrained(folder)
    byte_tokenizer(first_id=first_id).save_pretrained(folder)
    return str(folder)


def test_nothing_fetched_is_nothing_here(cache: Path) -> None:
    assert models_here() == []


def test_a_whole_model_of_the_hub_is_here_and_a_part_of_one_is_not(cache: Path) -> None:
    snapshot = fetched(cache, "owner", "tiny")
    (found,) = models_here()
    assert (found.name, found.path) == ("owner/tiny", snapshot) and found.num_parameters > 0
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "missing.safetensors"}}
    (snapshot / "model.safetensors").rename(snapshot / "model-00001-of-00002.safetensors")
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert models_here() == []


def test_smaller_models_with_the_same_tokens_can_draft(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    target = save_tiny_model(folder / "target")
    small = save_small_model(folder / "small")
    save_small_model(folder / "foreign", first_id=1)
    save_tiny_model(folder / "twin")
    assert {Path(model.name).name for model in neighbours(target)} == {"small", "foreign", "twin"}
    assert [draft.name for draft in fitting_drafts(target)] == [small]
    assert fitting_drafts(small) == []


def test_a_name_that_is_no_path_has_no_neighbours(cache: Path) -> None:
    assert neighbours("owner/name") == []
