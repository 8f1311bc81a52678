"""Makes a model ready for use without network: `python -m core.models.prepare smollm2-135m`."""

import sys

from core.command_line import OneSentenceParser, told
from core.config import DEFAULT_TARGET
from core.errors import KernelsUnavailableError, SpecDecodesError
from core.models.progress_bar import ProgressBar
from core.models.sources import find_model
from core.runtime.console import run_command
from core.runtime.imports import quick_imports


def main(arguments: list[str] | None = None) -> int:
    """Fetches, converts and compiles what is missing; returns the exit status."""
    parser = OneSentenceParser(prog="core.models.prepare", description=__doc__)
    parser.add_argument("name", nargs="?", default=DEFAULT_TARGET, help="as for --target")
    options = parser.parse_args(arguments)
    note = ""
    try:
        with quick_imports():
            from core.backends.cpu.build import built_library
        with ProgressBar(options.name) as bar:
            source = find_model(options.name, bar.show)
            try:
                built_library(bar.show)
            except KernelsUnavailableError as error:
                note = str(error)
    except SpecDecodesError as error:
        return told(error)
    if note:
        print(note, file=sys.stderr)
    print(f"{options.name} is ready in {source.gguf or source.folder}")
    return 0


if __name__ == "__main__":
    run_command(main)
