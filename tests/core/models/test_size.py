"""What a model needs is known from its headers."""

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from core.errors import ModelUnavailableError
from core.models.catalogue import CATALOGUE
from core.models.size import model_size
from tests.tiny_folder import save_tiny_model
from tests.tiny_models import tiny_model


def test_a_folder_says_how_many_weights_it_has(tmp_path: Path) -> None:
    name = save_tiny_model(tmp_path / "model")
    expected = sum(part.numel() for part in tiny_model("llama").parameters())
    assert model_size(name) == (expected, 0)


def test_a_gguf_file_counts_the_weights_in_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "home"))
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("a", np.zeros((3, 64), dtype=np.float32))
    packed = np.zeros((2, 64 // 32 * 20), dtype=np.uint8)  # two rows of two Q4_1 blocks
    writer.add_tensor("b", packed, raw_shape=packed.shape, raw_dtype=3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert model_size(str(path)).num_parameters == 3 * 64 + 2 * 64


def test_a_catalogue_model_says_what_must_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path))
    size = model_size("smollm2-135m")
    assert size.fetched_bytes == CATALOGUE["smollm2-135m"].wheel_bytes
    assert 134e6 < size.num_parameters < 135e6


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, (9).to_bytes(8, "little") + b"[1, 2, 3]"])
def test_a_broken_file_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelUnavailableError, match=r"the size of .* cannot be read"):
        model_size(str(tmp_path))


def test_a_folder_without_weights_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(ModelUnavailableError, match="there are no safetensors files"):
        model_size(str(tmp_path))


def test_a_name_that_leads_nowhere_gets_a_sentence() -> None:
    with pytest.raises(ModelUnavailableError, match="there is no model named 'nothing'"):
        model_size("nothing")
