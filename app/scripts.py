"""The commands of an installed package; `python app.py` and `python -m core...` are the same ones."""

from typing import NoReturn

from core.console import run_command


def page() -> NoReturn:
    """`specdecodes`."""
    from app.main import main

    run_command(main)


def generate() -> NoReturn:
    """`specdecodes-generate`."""
    from core.generate import main

    run_command(main)


def compare() -> NoReturn:
    """`specdecodes-compare`."""
    from core.benchmark.compare import main

    run_command(main)


def mtbench() -> NoReturn:
    """`specdecodes-mtbench`."""
    from core.benchmark.run_mtbench import main

    run_command(main)
