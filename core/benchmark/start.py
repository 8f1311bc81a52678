"""Measures a start: from the command to the first token, and what is imported until then.

python -m core.benchmark.start --repeats 9 -- --weights q4

Everything behind -- goes to core.generate. Every start is a process of its own with the caches that the
ones before it left.
"""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from core.benchmark.tables import Table, print_tables
from core.command_line import OneSentenceParser, told
from core.errors import InvalidSettingError, SpecDecodesError
from core.runtime.console import run_command

PROMPT = "Explain how a bicycle stays upright."
_SHOWN_PACKAGES = 8
_IMPORT_MARK = "import time:"


class Start(NamedTuple):
    """One process, in seconds since its command."""

    first_token_s: float
    exit_s: float


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns an exit status."""
    parser = OneSentenceParser(prog="core.benchmark.start", description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="starts that are measured")
    parser.add_argument("options", nargs="*", help="options of core.generate, behind --")
    given = parser.parse_args(arguments)
    try:
        if given.repeats < 1:
            raise InvalidSettingError(f"--repeats is {given.repeats}; give 1 or more.")
        import_lines = _import_lines(given.options)  # fills the caches as well
        starts = [measured_start(given.options) for _ in range(given.repeats)]
    except SpecDecodesError as error:
        return told(error)
    print_tables([start_table(starts), import_table(import_lines)])
    return 0


def measured_start(options: Sequence[str]) -> Start:
    """Raises InvalidSettingError where core.generate ends without a token."""
    start_s = time.perf_counter()
    with subprocess.Popen(
        _command(options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
    ) as process:
        assert process.stdout is not None and process.stderr is not None, "both are pipes"
        first = process.stdout.read(1)
        first_token_s = time.perf_counter() - start_s
        process.stdout.read()
        told = process.stderr.read().decode(errors="replace")
        process.wait()
    exit_s = time.perf_counter() - start_s
    if process.returncode or not first:
        raise InvalidSettingError(_no_token(told))
    return Start(first_token_s, exit_s)


def _no_token(told: str) -> str:
    last = told.strip().splitlines()[-1:] or ["nothing was told"]
    return f"core.generate came to no token ({last[0]}); give options that it runs with behind --."


def _command(options: Sequence[str], *interpreter_options: str) -> list[str]:
    return [
        sys.executable, *interpreter_options, "-m", "core.generate", "--prompt", PROMPT,
        "--max-new-tokens", "2", *options,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    """Compiled modules are kept, as they are by default."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _import_lines(options: Sequence[str]) -> list[str]:
    """What `python -X importtime` tells of a start, the second one: the first compiles."""
    for _ in range(2):
        done = subprocess.run(
            _command(options, "-X", "importtime"),
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(),
        )
        if done.returncode:
            raise InvalidSettingError(_no_token(done.stderr))
    return done.stderr.splitlines()


def import_milliseconds(lines: Iterable[str]) -> dict[str, float]:
    """Milliseconds by top package, each module counted without those that it imports.

    `lines` are those of `python -X importtime`; others are passed over.
    """
    found: dict[str, float] = defaultdict(float)
    for line in lines:
        if not line.startswith(_IMPORT_MARK):
            continue
        own, _, name = line.removeprefix(_IMPORT_MARK).split("|")
        if own.strip().isdigit():  # the first line has titles
            found[name.strip().split(".")[0]] += int(own) / 1e3
    return dict(found)


def start_table(starts: Sequence[Start]) -> Table:
    """Medians with the fastest and the slowest."""
    cells = []
    for name, seconds in (
        ("first token", [start.first_token_s for start in starts]),
        ("exit", [start.exit_s for start in starts]),
    ):
        spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
        cells.append((name, f"{statistics.median(seconds):.2f} ({spread})"))
    return Table(f"Seconds since the command, {len(starts)} starts", ("", "median (range)"), cells)


def import_table(lines: Iterable[str]) -> Table:
    """The dearest packages; the rest in one row."""
    found = sorted(import_milliseconds(lines).items(), key=lambda item: -item[1])
    cells = [(name, f"{cost:.0f}") for name, cost in found[:_SHOWN_PACKAGES]]
    others = sum(cost for _, cost in found[_SHOWN_PACKAGES:])
    note = "Told by `python -X importtime`, which slows what it measures."
    return Table("Imports", ("", "ms"), [*cells, ("all others", f"{others:.0f}")], note)


if __name__ == "__main__":
    run_command(main)
