"""What libraries write for their owner alone gets the mode that the umask gives."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.runtime.written_files import _umask, give_usual_modes, save_tensors
from tests.module_map import ROOT


@pytest.fixture(params=[0o022, 0o027, 0o077])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_weights_are_as_open_as_other_files(mask: int, tmp_path: Path) -> None:
    (tmp_path / "text").touch()
    (tmp_path / "closed").touch(mode=0o600)
    save_tensors({"a": torch.zeros(2)}, tmp_path / "weights.safetensors", {"format": "pt"})
    give_usual_modes([tmp_path / "closed"])
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
    assert (tmp_path / "text").stat().st_mode & 0o777 == 0o666 & ~mask


def test_the_umask_is_read_and_stays(mask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _umask() == mask

    def unreadable(path: Path, **more: str) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert _umask() == mask
    assert os.umask(mask) == mask


def test_nobody_writes_weights_in_another_way() -> None:
    found = subprocess.run(
        ["grep", "-rlE", r"save_file|save_pretrained", "--include=*.py", "core", "app"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert sorted(found) == [
        "core/models/gguf_folder.py", "core/models/gguf_others.py",  # `conversion` sets the modes
        "core/runtime/written_files.py", "core/train/draft_task.py",
    ]  # fmt: skip
