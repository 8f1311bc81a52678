"""A cache that cannot be written is read where it is; what it lacks is kept elsewhere, or not at all."""

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.backends.cpu.build import built_library
from core.errors import ModelUnavailableError, StorageError
from core.models import conversion
from core.models.conversion import MANIFEST_NAME, converted_folder
from core.models.hub_files import fetched
from core.runtime import scratch
from core.runtime.scratch import can_be_made, places
from core.runtime.storage import Progress, file_sha256, no_progress
from tests.faults.test_broken_cache import SETTINGS, answers
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model

OFFLOADED = {"mode": "share-sd", "drafter": {"group_size": 32, "offload": True}}


class Cache:
    """A cache folder that can be shut, and the temporary folder beside it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch):
        self.home, self.temporary = folder / "cache", folder / "tmp"
        self.temporary.mkdir()
        self._patch = patch
        patch.setenv("SPECDECODES_HOME", own_cache(self.home))
        patch.setattr(tempfile, "tempdir", str(self.temporary))
        patch.setattr(scratch, "_told", set())
        patch.setattr("core.backends.cost_curve._BUDGET_S", 0.0)
        patch.setattr("core.backends.cost_curve._STEADY_RATIO", 1e9)
        patch.setattr("core.backends.cost_curve._STEADY_SHARE", 0.0)

    def shut(self) -> None:
        """From now on nothing can be made there: not even for the superuser, who runs some tests."""

        def may(path: Path) -> bool:
            return not path.is_relative_to(self.home) and can_be_made(path)

        self._patch.setattr(scratch, "can_be_made", may)

    @property
    def files(self) -> dict[Path, bytes]:
        return _files(self.home)

    @property
    def scratch(self) -> dict[Path, bytes]:
        return _files(self.temporary)


def _files(folder: Path) -> dict[Path, bytes]:
    """Compiled kernels are behind a link, and stay."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(tmp_path, monkeypatch)


@pytest.fixture
def target(tmp_path: Path) -> str:
    return save_tiny_model(tmp_path / "target")


@pytest.fixture
def expected(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    with monkeypatch.context() as patch:
        patch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "another"))
        return [answers(target, settings) for settings in [*SETTINGS, OFFLOADED]]


def make_nothing(patch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("it was there already")

    for name in (
        "core.quant.store.quantize",
        "core.drafters.layer_search.LayerSearch.best_set",
        "core.runtime.storage.file_sha256",
    ):
        patch.setattr(name, refuse)


def test_what_an_empty_one_lacks_is_made_once_elsewhere(
    cache: Cache, target: str, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    cache.shut()
    with caplog.at_level(logging.WARNING):
        assert [answers(target, settings) for settings in [*SETTINGS, OFFLOADED]] == expected
    assert not cache.files
    parts = {path.relative_to(cache.temporary).parts[-2] for path in cache.scratch}
    assert parts == {"grids", "layer-sets", "cost-curves", "checked"}
    assert len([text for text in caplog.messages if "cannot be written" in text]) == 1
    make_nothing(monkeypatch)
    before = cache.scratch
    assert [answers(target, settings) for settings in SETTINGS] == expected[:-1]
    assert cache.scratch == before


def test_a_prepared_one_serves_and_needs_nothing_elsewhere(
    cache: Cache, target: str, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for settings in SETTINGS:
        answers(target, settings)
    before = cache.files
    assert len(before) >= 4
    cache.shut()
    make_nothing(monkeypatch)
    assert [answers(target, settings) for settings in SETTINGS] == expected[:-1]
    assert cache.files == before and not cache.scratch


def test_without_any_folder_everything_is_made_in_memory(
    cache: Cache, target: str, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_temporary_folder() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    cache.shut()
    monkeypatch.setattr(tempfile, "gettempdir", no_temporary_folder)
    assert [answers(target, settings) for settings in SETTINGS] == expected[:-1]
    with pytest.raises(StorageError, match="set SPECDECODES_HOME to a folder that can be written"):
        answers(target, OFFLOADED)
    assert not cache.files and not cache.scratch


def test_compiled_kernels_are_read_from_it(cache: Cache) -> None:
    library = built_library(no_progress)
    cache.shut()
    assert built_library(no_progress) == library


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files that were converted; what comes of one is its copy, for its owner alone."""
    converted: list[Path] = []

    def convert(shards: list[Path], sha256: str, folder: Path, progress: Progress) -> None:
        (gguf,) = shards
        converted.append(gguf)
        shutil.copy(gguf, folder / "weights")
        files = {"weights": file_sha256(gguf)}
        manifest = conversion.Manifest(str(gguf), sha256, "Q4_1", files)
        version = {"version": conversion.FORMAT_VERSION}
        (folder / MANIFEST_NAME).write_text(json.dumps(version | manifest._asdict()))

    monkeypatch.setattr(conversion, "_convert", convert)
    yield converted


def test_a_converted_file_is_found_again_wherever_both_are_moved_to(
    cache: Cache, conversions: list[Path], tmp_path: Path
) -> None:
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF and so on")
    made = converted_folder(gguf, cache.home, no_progress)
    moved = tmp_path / "elsewhere"
    shutil.copytree(cache.home, moved / "cache", symlinks=True)
    shutil.copy(gguf, moved / "model.gguf")
    cache.shut()
    for folder in (cache.home, moved / "cache"):
        found = converted_folder(moved / "model.gguf", folder, no_progress)
        assert found == folder / made.relative_to(cache.home)
    assert conversions == [gguf]


def test_a_file_is_converted_elsewhere_where_the_cache_lacks_it_or_has_it_broken(
    cache: Cache, conversions: list[Path], tmp_path: Path
) -> None:
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF and so on")
    made = converted_folder(gguf, cache.home, no_progress)
    (made / "weights").write_bytes(b"something else")
    before = cache.files
    cache.shut()
    for _ in range(2):
        found = converted_folder(gguf, cache.home, no_progress)
        assert found == places(made)[1] and (found / "weights").read_bytes() == gguf.read_bytes()
    assert cache.files == before and conversions == [gguf, gguf]


def test_a_file_that_cannot_be_read_is_one_sentence(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"none\.gguf cannot be read \(No such file"):
        converted_folder(tmp_path / "none.gguf", cache.home, no_progress)


def test_a_cache_of_the_hub_that_is_only_read_serves_and_the_rest_goes_elsewhere(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, cache_dir: Path = cache.home, local_files_only: bool = False) -> str:
        path = cache_dir / name
        if local_files_only and not path.exists():
            raise FileNotFoundError(2, "it is not there")
        assert local_files_only or cache_dir != cache.home
        return str(path)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache.home))
    (cache.home / "prepared").mkdir()
    monkeypatch.setattr("core.models.hub_files.can_be_made", lambda path: False)
    cache.shut()
    assert fetched(download, "prepared") == cache.home / "prepared"
    assert fetched(download, "other") == places(cache.home / "other")[1]
    assert fetched(download, "other").is_relative_to(cache.temporary)
