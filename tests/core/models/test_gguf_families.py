"""A GGUF file of every family gives the text of the folder that it was made from."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.families.registry import FAMILIES
from core.loading.forward import runner_of
from core.loading.loading import load_model
from core.models.sources import find_model
from core.runtime.storage import no_progress
from core.trees.tree import DraftTree
from tests.core.models.folders import PROMPT, ids_of, oracle_ids, save_module
from tests.core.models.gguf_families import CASES, NOT_AS_LLAMA_CPP, RECORDED, random_module
from tests.core.models.gguf_models import write_model
from tests.tiny_folder import byte_tokenizer


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return request.param, random_module(request.param), tmp_path_factory.mktemp("gguf")


def test_every_family_that_llama_cpp_has_is_tried() -> None:
    wanted = {name for name, family in FAMILIES.items() if family.gguf is not None}
    assert {config.model_type for config in CASES.values()} == wanted
    assert set(FAMILIES) - wanted == {"mistral"}


def test_a_file_gives_the_text_of_its_folder(case: Any) -> None:
    _, module, path = case
    gguf = write_model(path / "model.gguf", module)
    expected = oracle_ids(save_module(path / "folder", module))
    assert ids_of(gguf) == ids_of(gguf, "ngram") == expected


def test_the_same_numbers_come_out_of_a_file_as_went_in(case: Any) -> None:
    """Also where transformers' module is read, from a folder that is written for it."""
    name, module, path = case
    gguf = write_model(path / "model.gguf", module)
    again = load_model(gguf, dtype="float32", compile=False).module
    assert type(again) is type(module)
    for key, part in module.state_dict().items():
        read = again.state_dict()[key]
        # One was added in the file and taken away again.
        tolerance = 1e-6 if name.startswith("gemma") and part.dim() == 1 else 0.0
        torch.testing.assert_close(read, part, rtol=0.0, atol=tolerance, msg=f"{name} {key}")
    ids = torch.tensor([byte_tokenizer()(PROMPT).input_ids])
    with torch.inference_mode():
        torch.testing.assert_close(again(ids).logits, module(ids).logits, rtol=1e-5, atol=1e-4)


def test_no_folder_is_written_where_a_file_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "home"))
    gguf = write_model(tmp_path / "model.gguf", random_module("gemma3"))
    model = load_model(gguf, dtype="float32", compile=False)
    assert model.stack is not None and not (tmp_path / "home" / "converted").exists()
    assert model.module is not None and (tmp_path / "home" / "converted").is_dir()
    assert find_model(gguf, no_progress).sha256 == model.source_key


@torch.inference_mode()
def test_llama_cpp_chooses_the_same_tokens(case: Any) -> None:
    """Recorded by `record_llama_cpp_families` for a prompt of several windows; None for close calls."""
    name, module, path = case
    if name in NOT_AS_LLAMA_CPP:
        return
    recorded = json.loads(RECORDED.read_text("utf-8"))[name]
    assert sum(token_id is not None for token_id in recorded) > 40
    runner = runner_of(
        load_model(write_model(path / "model.gguf", module), dtype="float32", compile=False)
    )
    ids = byte_tokenizer()(PROMPT).input_ids
    runner.begin(ids[:1], 80, bool)
    for token_id, expected in zip(ids, recorded, strict=True):
        best = int(runner.tree_forward(DraftTree(token_id))[0].argmax())
        assert expected in (None, best)
        runner.commit([])
