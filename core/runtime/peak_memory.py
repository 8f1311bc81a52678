"""The most memory that a process holds between two moments, where the machine tells it.

Linux keeps a high-water mark of each process's resident memory, and lets it be set back. Where a
machine forbids that, a mark would be that of the whole life of the process: it is not told then.
"""

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

_PROC = Path("/proc")
# What proc(5) names for this: sets the high-water mark to what is resident now.
_SET_BACK = "5"
# What a process may grow between the setting back and the reading of its mark.
_SLACK = 32 << 20


class PeakMemory(NamedTuple):
    """The most that was held; None where the machine does not tell."""

    resident_bytes: int | None = None
    gpu_bytes: int | None = None


class MemoryGauge(Protocol):
    """Tells the most memory held since it was set back."""

    def reset(self) -> None:
        """From now on."""
        ...

    def peak(self) -> PeakMemory:
        """The most since the last `reset`."""
        ...


class OwnMemory:
    """This process, and on CUDA the tensors that torch holds on the device."""

    def __init__(self, device: torch.device):
        self._device = device
        self._is_set_back = False

    def reset(self) -> None:
        """See `MemoryGauge.reset`."""
        self._is_set_back = _set_back(os.getpid())
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> PeakMemory:
        """See `MemoryGauge.peak`."""
        is_gpu = self._device.type == "cuda"
        return PeakMemory(
            high_water_bytes(os.getpid()) if self._is_set_back else None,
            int(torch.cuda.max_memory_allocated(self._device)) if is_gpu else None,
        )


class ProcessMemory:
    """Another process and all that it started; what they share is counted in each."""

    def __init__(self, pid: int):
        self._pid = pid
        self._set_back: list[int] = []

    def reset(self) -> None:
        """See `MemoryGauge.reset`."""
        self._set_back = [pid for pid in _family(self._pid) if _set_back(pid)]

    def peak(self) -> PeakMemory:
        """See `MemoryGauge.peak`."""
        marks = [high_water_bytes(pid) for pid in self._set_back]
        known = [mark for mark in marks if mark is not None]
        return PeakMemory(sum(known) if known else None)


def _family(pid: int) -> list[int]:
    import psutil

    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.Error:
        return []


def _set_back(pid: int) -> bool:
    """Whether the mark of the process is now what the process holds."""
    try:
        (_PROC / str(pid) / "clear_refs").write_text(_SET_BACK, encoding="ascii")
    except OSError:
        return False
    held, mark = _status_bytes(pid, "VmRSS"), high_water_bytes(pid)
    return held is not None and mark is not None and mark <= held + _SLACK


def high_water_bytes(pid: int) -> int | None:
    """The mark of one process; None where there is none, as of one that has ended."""
    return _status_bytes(pid, "VmHWM")


def _status_bytes(pid: int, field: str) -> int | None:
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
