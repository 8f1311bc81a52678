"""Writes a model and its shipped drafters in the sizes of a larger model.

python -m core.benchmark.widen --shape 7b --out DIR
"""

from pathlib import Path

from core.benchmark.wide_shapes import SHAPES
from core.command_line import OneSentenceParser, told
from core.config import DEFAULT_TARGET
from core.errors import SpecDecodesError
from core.runtime.console import run_command
from core.runtime.imports import quick_imports


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns an exit status."""
    parser = OneSentenceParser(prog="core.benchmark.widen", description=__doc__)
    parser.add_argument("--target", default=DEFAULT_TARGET, help="the model to widen")
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True, help="the larger sizes")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    options = parser.parse_args(arguments)
    try:
        with quick_imports():
            from core.benchmark.widening import widen
        widen(options.target, SHAPES[options.shape], options.out)
    except SpecDecodesError as error:
        return told(error)
    return 0


if __name__ == "__main__":
    run_command(main)
