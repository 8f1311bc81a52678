"""`python -m visualize`: files of other programs and traces, side by side as tables or as a report."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.command_line import OneSentenceParser, called_as
from core.errors import SpecDecodesError
from core.runtime.console import run_command
from visualize.imports.columns import IMPORT_COLUMNS

if TYPE_CHECKING:
    from visualize.imports.records import Source

_NAME = "visualize"


def main(arguments: list[str] | None = None) -> int:
    """Prints the tables of the files, or writes what was asked for."""
    options = _parse(arguments)
    from visualize.exports import write_frame
    from visualize.imports.beside import load_sources
    from visualize.imports.tables import import_frame
    from visualize.report.imported import export_imports

    try:
        sources = load_sources(options.files)
    except SpecDecodesError as error:
        print(f"{called_as(_NAME)}: {error}", file=sys.stderr)
        return 2
    try:
        if options.csv is not None:
            write_frame(import_frame(sources, options.table), options.csv)
        if options.html is not None:
            export_imports(sources, options.html)
    except OSError as error:
        place = error.filename or options.csv or options.html
        print(f"{called_as(_NAME)}: {place} cannot be written ({error.strerror}).", file=sys.stderr)
        return 2
    if options.csv is None and options.html is None:
        print(_as_text(sources, options.table))
    return 0


def _as_text(sources: "list[Source]", name: str) -> str:
    """A table in columns of one width, with what is to be known of it."""
    from visualize.imports.words import word_tables

    table = next((table for table in word_tables(sources) if table.name == name), None)
    if table is None:
        return f"These files hold nothing for the table {name}."
    rows = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", table.note]).rstrip()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = OneSentenceParser(
        prog=_NAME,
        description="Traces and files of other programs side by side: vLLM, SGLang, llama.cpp, AIPerf, "
        "Spec-Bench, EAGLE. Files are known by their content.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file to read")
    parser.add_argument(
        "--table",
        choices=tuple(IMPORT_COLUMNS),
        default="sources",
        help="which table to print or to write (default: sources, a row a file)",
    )
    parser.add_argument("--csv", type=Path, metavar="PATH", help="write the table as a CSV file")
    parser.add_argument(
        "--html", type=Path, metavar="PATH", help="write all tables and figures as one HTML file"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
