"""A model is known by what its files hold: not by where they lie, their times or what they say."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.engine import Engine
from core.loading.loading import load_model
from core.models.conversion import FORMAT_VERSION, MANIFEST_NAME
from core.runtime.storage import file_sha256
from tests.core.conftest import own_cache_folder, run, tiny_home  # noqa: F401
from tests.tiny_folder import save_tiny_model


def source_key(folder: Path) -> str:
    return load_model(str(folder), dtype="float32", compile=False).source_key


def test_a_copy_is_the_same_model_and_other_weights_are_another(
    tiny_home: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    copy = Path(shutil.copytree(tiny_home / "target", tmp_path / "copy"))
    (copy / "README.md").write_text("read me")
    assert source_key(copy) == source_key(tiny_home / "target") != source_key(tiny_home / "draft")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_changed_file_of_the_same_size_makes_another_model(name: str, tmp_path: Path) -> None:
    folder = Path(save_tiny_model(tmp_path / "model"))
    before = source_key(folder)
    content = bytearray((folder / name).read_bytes())
    if name == "config.json":
        content = bytearray(content.replace(b"1e-06", b"1e-05"))
    else:
        content[-1] ^= 1
    (folder / name).write_bytes(content)
    assert source_key(folder) != before


def write_manifest(folder: Path) -> None:
    """As a conversion writes it."""
    files = {path.name: file_sha256(path) for path in folder.iterdir()}
    values = {
        "version": FORMAT_VERSION, "source_path": "/x.gguf", "source_sha256": "5e" * 32,
        "file_type": "Q4_1", "files": files,
    }  # fmt: skip
    (folder / MANIFEST_NAME).write_text(json.dumps(values))


def test_a_manifest_counts_as_long_as_the_files_are_those_it_names(tmp_path: Path) -> None:
    folder = Path(save_tiny_model(tmp_path / "model"))
    own = source_key(folder)
    write_manifest(folder)
    assert source_key(folder) == "5e" * 32
    save_tiny_model(folder, seed=1)
    assert source_key(folder) not in (own, "5e" * 32)


@pytest.mark.parametrize("mode", ["sd-classic", "sd-eagle"])
def test_a_drafter_s_costs_are_those_of_its_weights(
    mode: str,
    tiny_home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from core.decoding import measured_costs

    keys: list[str] = []
    kept = measured_costs.load_or_measure

    def listened(folder: Path, key: str, *rest: Any) -> Any:
        keys.append(key)
        return kept(folder, key, *rest)

    monkeypatch.setattr(measured_costs, "load_or_measure", listened)
    target = load_model(str(tiny_home / "target"), dtype="float32", compile=False)
    original = tiny_home / ("draft" if mode == "sd-classic" else "head")

    def keys_with(draft: Path) -> set[str]:
        keys.clear()
        run(Engine(target), mode=mode, draft=str(draft), max_new_tokens=2)
        return set(keys)

    copy = Path(shutil.copytree(original, tmp_path / "drafter"))
    first = keys_with(original)
    assert keys_with(copy) == first
    weights = next(path for path in copy.iterdir() if path.suffix in (".safetensors", ".bin"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert len(keys_with(copy) - first) == 1
