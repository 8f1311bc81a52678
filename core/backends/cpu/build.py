"""Compiles the kernels once for this processor and keeps the library on disk."""

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from core.errors import KernelsUnavailableError, StorageError
from core.runtime.processor import tuning_flag
from core.runtime.scratch import places, writable
from core.runtime.storage import Progress, cache_home, file_sha256

SOURCE = Path(__file__).with_name("kernels.cpp")
_SOURCES = (SOURCE, *sorted(SOURCE.parent.glob("*.h")))
_COMPILERS = ("c++", "g++", "clang++")
# Products and sums fuse the same way everywhere: a row's arithmetic may not hang on its tile.
_FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-shared")
_TIMEOUT_S = 300


def built_library(progress: Progress) -> Path:
    """The compiled kernels; compiled now where this processor and compiler have none yet.

    Raises KernelsUnavailableError with one sentence where they cannot be compiled.
    """
    sources = [path.read_text("utf-8") for path in _SOURCES]
    name = _digest([*_FLAGS, tuning_flag(), _processor(), *sources])
    folder = cache_home() / "kernels"
    try:
        compiler = _compiler()
    except KernelsUnavailableError:
        if os.environ.get("CXX"):  # one that is asked for by name, and is not there
            raise
        # A machine without a compiler takes what was compiled for its processor elsewhere.
        found = (path for place in places(folder) for path in sorted(place.glob(f"{name}-*.so")))
        library = next(filter(_is_whole, found), None)
        if library is None:
            raise
        return library
    library = folder / f"{name}-{_digest([compiler, _version(compiler)])}.so"
    for place in places(library):
        if _is_whole(place):
            return place
    progress("compiling the kernels", 0, 0)
    command = [compiler, *_FLAGS, tuning_flag()]
    try:
        library = writable(library)
    except StorageError as error:
        raise _failed(compiler, str(error)) from error
    _compile(command, library)
    return library


def _digest(words: list[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:20]


def _hash_file(library: Path) -> Path:
    return library.with_name(f"{library.name}.sha256")


def _is_whole(library: Path) -> bool:
    """Whether it is as it was compiled: the system kills a program that loads half a library."""
    try:
        return _hash_file(library).read_text("utf-8") == file_sha256(library)
    except (OSError, ValueError):
        return False


def _compiler() -> str:
    chosen = os.environ.get("CXX")
    for name in (chosen,) if chosen else _COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise KernelsUnavailableError(
        f"no C++ compiler was found ({chosen or ', '.join(_COMPILERS)}), so the forward runs "
        "without compiled kernels; install one, or give --no-compile."
    )


def _compile(command: list[str], library: Path) -> None:
    temporary = library.with_name(f"{library.name}.{os.getpid()}.part")
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [*command, "-o", str(temporary), str(SOURCE)],
            check=True, capture_output=True, text=True, timeout=_TIMEOUT_S,
        )  # fmt: skip
        whole = file_sha256(temporary)
        temporary.replace(library)
        _hash_file(library).write_text(whole, "utf-8")
    except subprocess.CalledProcessError as error:
        reason = next((line for line in error.stderr.splitlines() if "error" in line), "no reason")
        raise _failed(command[0], reason.strip()) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(command[0], str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _failed(compiler: str, reason: str) -> KernelsUnavailableError:
    return KernelsUnavailableError(
        f"{compiler} could not compile the kernels ({reason.rstrip('.')}), so the forward runs "
        "without them; give another compiler in CXX, or give --no-compile."
    )


def _version(compiler: str) -> str:
    try:
        result = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(compiler, str(error)) from error
    return result.stdout


def _processor() -> str:
    """Name and abilities: a library moved to a lesser processor would crash there."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return f"{platform.machine()} {platform.processor()}"
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
