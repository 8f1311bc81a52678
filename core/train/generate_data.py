"""Writes training data that the target says itself: `python -m core.train.generate_data --out DIR`.

User turns are sampled from the chat template's open user turn (Magpie, Xu et al. 2024), under
several system prompts; then the target answers them under its own system prompt, at several
temperatures, over several turns.
"""

import argparse

from core.runtime.console import run_command
from core.runtime.imports import quick_imports
from core.train.data_options import check_data_options, data_parser
from core.train.loop_options import run_or_explain


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input."""
    options = data_parser(__doc__).parse_args(arguments)
    return run_or_explain(lambda: _run(options), "--slots or --columns")


def _run(options: argparse.Namespace) -> None:
    check_data_options(options)
    with quick_imports():
        from core.train.data_rounds import generate
    generate(options)


if __name__ == "__main__":
    run_command(main)
