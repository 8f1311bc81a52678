"""The page's scripts, tested by node's own test runner."""

import shutil
import subprocess
import sys
from pathlib import Path

TESTS = sorted((Path(__file__).parent / "static").glob("*.test.mjs"))


def test_scripts_of_the_page_pass_their_own_tests() -> None:
    # Of requirements-dev.txt; a machine's own serves as well.
    own = shutil.which("node", path=Path(sys.executable).parent)
    node = own or shutil.which("node")
    assert node, "there is no node; install requirements-dev.txt"
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", *map(str, TESTS)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert f"# pass {_num_tests()}" in done.stdout


def _num_tests() -> int:
    """Tests written down, with those of a file that others import counted for each of them."""
    texts = [path.read_text("utf-8") for path in TESTS]
    counts = {path.name: text.count("\ntest(") for path, text in zip(TESTS, texts, strict=True)}
    imported = sum(counts[name] for text in texts for name in counts if f'from "./{name}"' in text)
    return sum(counts.values()) + imported
