"""The commands of an installed package; `python app.py` and `python -m core...` are the same ones."""

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


def _run(command: str) -> NoReturn:
    """Imports it where an interrupt is told in a word."""
    run_command(lambda: import_module(command).main())
