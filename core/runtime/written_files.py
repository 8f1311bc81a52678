"""Files that libraries write for their owner alone, with the modes that the umask gives."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def save_tensors(
    tensors: Mapping[str, "torch.Tensor"], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """A safetensors file; raises what the library raises."""
    from safetensors.torch import save_file

    save_file(dict(tensors), path, metadata)
    give_usual_modes([path])


def give_usual_modes(paths: Iterable[Path]) -> None:
    """Lets those read files whom the umask lets."""
    mode = 0o666 & ~_umask()
    for path in paths:
        path.chmod(mode)


def _umask() -> int:
    """Read without being changed, where the system tells it: a change holds for all threads."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    for line in status.split("\n"):
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
