"""The commands of an installed package; `python app.py`, `python -m core...` and
`python -m visualize` are the same ones."""

from importlib import import_module
from typing import NoReturn

from core.runtime.console import run_command


def page() -> NoReturn:
    """`specdecodes`."""
    _run("app.main")


def generate() -> NoReturn:
    """`specdecodes-generate`."""
    _run("core.generate")


def compare() -> NoReturn:
    """`specdecodes-compare`."""
    _run("core.benchmark.compare")


def mtbench() -> NoReturn:
    """`specdecodes-mtbench`."""
    _run("core.benchmark.run_mtbench")


def visualize() -> NoReturn:
    """`specdecodes-visualize`."""
    _run("visualize.__main__")


def _run(command: str) -> NoReturn:
    """Imports it where an interrupt is told in a word."""
    run_command(lambda: import_module(command).main())
