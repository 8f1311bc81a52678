"""Logs hold our own lines: the bars of other libraries would fill them with carriage returns."""

from pathlib import Path

import pytest
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers import modeling_gguf_pytorch_utils as reader

from core.errors import ModelUnavailableError
from core.models import quiet
from core.models.sources import find_model
from core.runtime.storage import no_progress
from tests.core.loading.test_gguf_weights import write_gguf
from tests.tiny_models import tiny_model


def test_a_gguf_file_is_read_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "tqdm", reader.tqdm)
    module = tiny_model("llama")
    write_gguf(tmp_path / "tiny.gguf", module, "Q4_0", "Q8_0")
    quiet.quiet_transformers()
    for _ in range(2):
        quiet.quiet_gguf_reader()
    given = {"return_tensors": True, "model_to_load": module}
    assert reader.load_gguf_checkpoint(str(tmp_path / "tiny.gguf"), **given)["tensors"]
    assert capfd.readouterr().err == ""


def test_what_comes_from_the_hub_comes_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_progress_bars()
    with pytest.raises(ModelUnavailableError, match="the hub gave no owner/name"):
        find_model("owner/name", no_progress)
    assert are_progress_bars_disabled()
