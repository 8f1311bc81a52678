"""A thin slice of the kernels' tests under sanitizers; `make test-sanitized` runs all of them."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from core.backends.cpu import build
from core.runtime.storage import no_progress
from tests.sanitized import ROOT, compiler, environment

SLICE = (
    "tests/core/backends/cpu/test_bounds.py",
    "tests/core/backends/cpu/test_rounded.py::test_a_row_s_bits_do_not_change_with_the_rows_beside_it",
    "tests/core/backends/cpu/test_kernels.py::test_logits_are_those_of_torch",
    "-k",
    "not avx2 and not portable",
)
# Reads the element behind the end of four.
BROKEN = """
static int* numbers = new int[4]{1, 2, 3, 4};
extern "C" int behind(int index) { return numbers[index]; }
"""


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    found = compiler()
    if found is None:
        pytest.skip("no C++ compiler with AddressSanitizer")
    return environment(found, tmp_path)


@pytest.mark.slow
def test_the_kernels_touch_nothing_but_what_they_are_given(watched: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SLICE],
        cwd=ROOT, env=watched, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def test_a_kernel_that_reads_behind_the_end_is_found(
    watched: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "broken.cpp"
    source.write_text(BROKEN, "utf-8")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.core.backends.cpu.test_sanitized import call\n"
        "call(Path(sys.argv[1]), int(sys.argv[2]))\n"
    )
    for index, word in ((3, ""), (4, "heap-buffer-overflow")):
        result = subprocess.run(
            [sys.executable, "-c", code, str(source), str(index)],
            cwd=ROOT, env=watched, capture_output=True, text=True,
        )  # fmt: skip
        assert (result.returncode == 0) == (index == 3), result.stderr
        assert word in result.stderr


def call(source: Path, index: int) -> None:
    """In a process of its own: what the program's own way of compiling makes of a source."""
    build.SOURCE = source
    library = ctypes.CDLL(str(build.built_library(no_progress)))
    assert library.behind(index) == index + 1
