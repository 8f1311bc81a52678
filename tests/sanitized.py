"""Tests over kernels that sanitizers watch: `python -m tests.sanitized [pytest's arguments]`.

Without arguments the tests are those of all that computes with compiled kernels. The kernels are
compiled with AddressSanitizer and UndefinedBehaviorSanitizer into a cache folder of their own. A read
or write outside of what was allocated, torch's memory included, ends the run.
"""

import argparse
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "-q",
    "tests/core/lean",
    "--ignore=tests/core/lean/test_sanitized.py",
    "tests/core/drafters/test_eagle.py",
    "tests/core/test_batches.py",
    "tests/core/test_token_ids.py",
)
_FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1"


def compiler() -> str | None:
    """The compiler that the program takes, if it has the sanitizers' library; else None."""
    found = shutil.which(os.environ.get("CXX", "c++"))
    return found if found is not None and runtime(found) is not None else None


def runtime(compiler: str) -> str | None:
    """AddressSanitizer's library, which must come before all others into a process."""
    asked = [compiler, "-print-file-name=libasan.so"]
    path = Path(subprocess.run(asked, capture_output=True, text=True).stdout.strip())
    return str(path) if path.is_absolute() else None


def environment(compiler: str, folder: Path, flags: str = "") -> dict[str, str]:
    """Of a process whose kernels are watched; `folder` takes its cache."""
    wrapper = folder / "c++"
    wrapper.write_text(f'#!/bin/sh\nexec {compiler} "$@" {_FLAGS} {flags}\n', encoding="utf-8")
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return {
        **os.environ,
        "CXX": str(wrapper),
        "SPECDECODES_HOME": str(folder / "home"),
        "LD_PRELOAD": str(runtime(compiler)),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it needs until it ends
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--march", help="compile for this processor, such as x86-64-v3")
    options, rest = parser.parse_known_args()
    found = compiler()
    if found is None:
        print("no C++ compiler with AddressSanitizer was found; name one in CXX.")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        flags = f"-march={options.march}" if options.march else ""
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(rest or TESTS)],
            env=environment(found, Path(folder), flags),
            cwd=ROOT,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
