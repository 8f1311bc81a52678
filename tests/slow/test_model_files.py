"""The converted default model heals itself and needs no network."""

import os
import shutil
from pathlib import Path

import pytest

from core.models.catalogue import CATALOGUE
from core.models.sources import find_model
from core.runtime.storage import cache_home, no_progress

pytestmark = pytest.mark.slow


def test_a_broken_conversion_heals_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = Path(CATALOGUE["smollm2-135m"].member).name
    gguf = find_model("smollm2-135m", no_progress).gguf
    assert gguf is not None and gguf == cache_home() / "packaged" / "smollm2-135m" / member
    kept = tmp_path / "packaged" / "smollm2-135m" / member
    kept.parent.mkdir(parents=True)
    shutil.copy2(gguf, kept)
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    folder = find_model("smollm2-135m", no_progress).folder
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    broken = bytearray(whole)
    broken[len(broken) // 2] ^= 1
    weights.write_bytes(broken)
    assert find_model("smollm2-135m", no_progress).folder == folder
    assert weights.read_bytes() == whole
    os.remove(weights)
    assert find_model("smollm2-135m", no_progress).folder == folder
    assert weights.read_bytes() == whole
