"""What a trace says of the machine: device in words, versions, memory."""

import importlib.metadata
import platform
import sys
from functools import cache
from pathlib import Path

import torch

from core import __version__
from core.runtime.processor import level_name

_PACKAGES = ("torch", "transformers", "hqq")


@cache
def package_versions() -> dict[str, str]:
    """Versions of this program, of Python, and of the packages that decide a run's numbers."""
    versions = {"specdecodes": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_device(device: torch.device) -> str:
    """The device in words; a CPU with the number of threads that torch uses, and with the level of
    instruction sets where that is limited."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    level = level_name()
    limit = "" if level == "native" else f", {level} instructions"
    return f"{_cpu_name()}, {torch.get_num_threads()} threads{limit}"


@cache
def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held so far: by the allocator on a GPU, by this process on a CPU; 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
