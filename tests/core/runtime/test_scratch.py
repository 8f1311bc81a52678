"""What cannot be written has a stand-in among the user's temporary files, and is found there."""

import logging
import os
import tempfile
from pathlib import Path

import pytest

from app.own_folders import provide_folders
from core.errors import StorageError
from core.runtime import scratch
from core.runtime.json_cache import load_json, save_json
from core.runtime.scratch import can_be_made, places, scratch_folder, writable, writable_folder
from core.runtime.triton_cache import provide_triton_cache

USER = os.getuid()


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(scratch, "_told", set())
    return folder


@pytest.fixture
def shut(tmp_path: Path) -> Path:
    """A place where not even the superuser can make anything."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "cache"


def no_temporary_folder() -> str:
    raise FileNotFoundError(2, "No usable temporary directory found")


def test_what_can_be_made_is_made_where_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert can_be_made(path) and writable(path) == path and places(path) == (path,)
    assert list(tmp_path.glob("tmp/*")) == []


def test_a_stand_in_has_the_path_within_and_is_told_once(
    shut: Path, own_temporary_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in = own_temporary_folder / f"specdecodes-{USER}" / str(shut)[1:] / "grids" / "x"
    with caplog.at_level(logging.WARNING):
        assert writable(shut / "grids" / "x") == stand_in
        assert writable_folder(shut / "grids") == stand_in.parent
    assert places(shut / "grids" / "x") == (shut / "grids" / "x", stand_in)
    (told,) = caplog.messages
    assert told.startswith(f"{shut / 'grids'} cannot be written, so what is made is kept in")
    assert oct(scratch_folder().stat().st_mode)[-3:] == "700"


def test_results_are_kept_and_found_in_the_stand_in(shut: Path) -> None:
    save_json(shut, "key", {"a": 1})
    assert load_json(shut, "key") == {"a": 1}
    assert load_json(shut, "other") is None


def _open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


@pytest.mark.parametrize("make", [_open_to_all, lambda path: path.symlink_to("/tmp"), Path.touch])
def test_a_stand_in_that_others_may_fill_is_not_used(
    make: object, shut: Path, own_temporary_folder: Path
) -> None:
    make(own_temporary_folder / f"specdecodes-{USER}")  # type: ignore[operator]
    assert places(shut / "x") == (shut / "x",)
    with pytest.raises(StorageError, match=r"specdecodes-\d+"):
        writable(shut / "x")
    save_json(shut, "key", {"a": 1})
    assert load_json(shut, "key") is None


def test_without_any_temporary_folder_it_is_done_without(
    shut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", no_temporary_folder)
    with pytest.raises(
        StorageError, match=r"no temporary folder can be had .*; set SPECDECODES_HOME"
    ):
        writable(shut / "x")
    save_json(shut, "key", {"a": 1})
    assert load_json(shut, "key") is None


def test_triton_gets_a_folder_where_its_own_cannot_be_had(
    shut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    monkeypatch.setenv("TRITON_HOME", str(tmp_path))
    provide_triton_cache()
    assert os.environ["TRITON_CACHE_DIR"] == ""
    monkeypatch.setenv("TRITON_HOME", str(shut))
    provide_triton_cache()
    assert os.environ["TRITON_CACHE_DIR"] == str(scratch_folder() / "triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/chosen")
    provide_triton_cache()
    assert os.environ["TRITON_CACHE_DIR"] == "/chosen"


def test_the_page_has_folders_of_this_user_alone(
    shut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "home"))
    assert provide_folders() == tmp_path / "home" / "runs"
    assert os.environ["GRADIO_TEMP_DIR"] == str(scratch_folder() / "gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/chosen")
    provide_folders()
    assert os.environ["GRADIO_TEMP_DIR"] == "/chosen"
