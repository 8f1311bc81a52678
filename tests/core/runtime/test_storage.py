"""Files come into the cache whole or not at all."""

import errno
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from core.errors import InvalidSettingError, ModelUnavailableError
from core.runtime.storage import (
    cache_home,
    exclusive,
    file_sha256,
    known_sha256,
    new_folder,
    no_progress,
    told_if_full,
)


def test_the_home_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path))
    assert cache_home() == tmp_path


def test_a_chosen_home_may_be_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECDECODES_HOME", "here/there")
    assert cache_home() == tmp_path / "here" / "there"


@pytest.mark.parametrize(
    ("home", "sentence"),
    [
        ("{file}", "SPECDECODES_HOME is {file}, which is a file; set SPECDECODES_HOME to a folder"),
        ("{file}/below", "SPECDECODES_HOME is {file}/below, which cannot be made; set"),
        ("~nobody-has-this-name/x", "SPECDECODES_HOME is ~nobody-has-this-name/x, and nobody has"),
    ],
)
def test_a_chosen_home_that_cannot_be_used_is_one_sentence(
    home: str, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("SPECDECODES_HOME", home.format(file=file))
    with pytest.raises(InvalidSettingError, match=re.escape(sentence.format(file=file))):
        cache_home()


def test_without_a_choice_it_is_in_the_users_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("SPECDECODES_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # its standard has it ignored
    assert cache_home() == tmp_path / ".cache" / "specdecodes"
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "specdecodes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_home() == tmp_path / f"specdecodes-{os.getuid()}"


def test_an_old_folder_that_cannot_be_removed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.setattr("shutil.rmtree", lambda path, ignore_errors: None)
    with (
        pytest.raises(
            ModelUnavailableError, match=r"model cannot be written; set SPECDECODES_HOME"
        ),
        told_if_full(tmp_path),
        new_folder(tmp_path / "model"),
    ):
        pass


def test_a_folder_that_failed_to_fill_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), new_folder(tmp_path / "model") as folder:
        (folder / "half").write_text("x")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_a_filled_folder_replaces_the_old_one(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with new_folder(tmp_path / "model") as folder:
            (folder / "file").write_text(text)
    assert (tmp_path / "model" / "file").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_second_process_waits_and_says_so(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from core.runtime.storage import exclusive, no_progress\n"
        "with exclusive(Path(sys.argv[1]), no_progress):\n"
        "    print('in', flush=True); time.sleep(1.5)"
    )
    path = tmp_path / "model"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        stages: list[str] = []
        with exclusive(path, lambda stage, done, total: stages.append(stage)):
            assert other.poll() is not None or time.sleep(0.2) is None
        assert any("another process" in stage for stage in stages)


def test_a_disk_that_fills_up_gets_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelUnavailableError, match="is full; free some space"),
        told_if_full(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_system_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="odd"), told_if_full(tmp_path):
        raise OSError(errno.EIO, "odd")


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), exclusive(tmp_path / "model", no_progress):
        raise ValueError
    with exclusive(tmp_path / "model", no_progress):
        pass


def test_a_file_is_hashed_once_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "home"))
    path, hashed = tmp_path / "weights", []

    def counted(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr("core.runtime.storage.file_sha256", counted)
    path.write_bytes(b"one")
    first = known_sha256(path)
    assert known_sha256(path) == first == file_sha256(path)
    assert len(hashed) == 1
    path.write_bytes(b"two")
    assert known_sha256(path) == file_sha256(path) != first
