"""Names that lead to no model get one sentence each."""

from pathlib import Path

import pytest

from core.errors import InvalidSettingError, ModelUnavailableError
from core.loading.loading import load_model
from core.models.sources import find_model
from core.runtime.storage import no_progress


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", ["nothing", "/no/such/folder", "missing.gguf", "a/b/c", ""])
def test_an_unknown_name_lists_what_can_be_given(name: str) -> None:
    with pytest.raises(ModelUnavailableError, match=r"smollm2-135m.*folder.*\.gguf.*hub id"):
        find_model(name, no_progress)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"has no config\.json"):
        find_model(str(tmp_path), no_progress)


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelUnavailableError, match=r"is a file but no \.gguf"):
        find_model(str(tmp_path / "model.bin"), no_progress)


def test_a_broken_gguf_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 200)
    with pytest.raises(ModelUnavailableError, match="no GGUF file that can be read") as told:
        find_model(str(tmp_path / "broken.gguf"), no_progress)
    assert "\n" not in str(told.value)


def test_a_hub_that_cannot_be_reached_is_told() -> None:
    with pytest.raises(ModelUnavailableError, match=r"the hub gave no owner/name") as told:
        find_model("owner/name", no_progress)
    assert "\n" not in str(told.value)


def test_a_broken_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        load_model(str(tmp_path), dtype="float32")


def test_a_missing_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidSettingError, match="there is no CUDA GPU; give cpu"):
        load_model("anything", device="cuda")
