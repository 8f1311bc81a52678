"""Tests over kernels that sanitizers watch: `python -m tests.sanitized [pytest's arguments]`.

The kernels are compiled with AddressSanitizer and UndefinedBehaviorSanitizer into a cache folder of
their own. A read or write outside of what was allocated, torch's memory included, ends the run.
Without arguments the tests are those of all that computes with compiled kernels.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What computes with compiled kernels.
TESTS = (
    "tests/core/backends/cpu",
    "--ignore=tests/core/backends/cpu/test_sanitized.py",
    "tests/core/drafters/test_eagle.py",
    "tests/core/decoding/test_batches.py",
    "tests/core/test_token_ids.py",
)
# Unoptimized, for watched code of which much is written out takes minutes to optimize.
_FLAGS = (
    "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1"
)


def compiler() -> str | None:
    """The compiler that the program takes, if it has the sanitizers' library; else None."""
    found = shutil.which(os.environ.get("CXX", "c++"))
    return found if found is not None and _library(found, "libasan.so") is not None else None


def _library(compiler: str, name: str) -> str | None:
    """Where the compiler has a library; None where it has none of that name."""
    asked = [compiler, f"-print-file-name={name}"]
    path = Path(subprocess.run(asked, capture_output=True, text=True).stdout.strip())
    return str(path) if path.is_absolute() else None


def _first_libraries(compiler: str) -> str:
    """AddressSanitizer's, which must come before all others into a process, and C++'s own right behind
    it: the former looks there, once and at the start, for what throws the exceptions of torch."""
    names = ("libasan.so", "libstdc++.so.6")
    return " ".join(path for name in names if (path := _library(compiler, name)) is not None)


def environment(compiler: str, folder: Path) -> dict[str, str]:
    """Of a process whose kernels are watched; `folder` takes its cache."""
    wrapper = folder / "c++"
    wrapper.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec {compiler} "$@" {_FLAGS}\n', "utf-8")
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return {
        **os.environ,
        "CXX": str(wrapper),
        "SPECDECODES_HOME": str(folder / "home"),
        "LD_PRELOAD": _first_libraries(compiler),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it needs until it ends
    }


def main(arguments: list[str]) -> int:
    found = compiler()
    if found is None:
        print("no C++ compiler with AddressSanitizer was found; name one in CXX.")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        # What a sanitizer says as it ends the run goes past Python, and is not to be captured.
        options = ["-q", "-p", "no:cacheprovider", "--capture=sys"]
        command = [sys.executable, "-m", "pytest", *options]
        watched = environment(found, Path(folder))
        return subprocess.run([*command, *(arguments or TESTS)], env=watched, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
