"""Tables of files of other programs as people read them: every cell a text, what is unknown a dash."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from visualize.columns import Column
from visualize.imports.columns import IMPORT_COLUMNS
from visualize.imports.records import Source
from visualize.imports.tables import import_frame

UNKNOWN = "–"
MOST_ROWS = 1000
_TITLES = {
    "sources": "Side by side",
    "answers": "Answers",
    "answer_steps": "Steps",
    "accepted_counts": "Steps by accepted draft tokens",
}


class WordTable(NamedTuple):
    """A table of texts; implements `visualize.report.measured.TextTable`."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


def word_tables(sources: Sequence[Source]) -> list[WordTable]:
    """All tables that have rows, each with its first `MOST_ROWS`; that of the sources has a column a
    source."""
    tables = [_table(sources, name) for name in IMPORT_COLUMNS]
    return [table for table in tables if table.rows]


def _table(sources: Sequence[Source], name: str) -> WordTable:
    columns = IMPORT_COLUMNS[name]
    frame = import_frame(sources, name)
    # Columns that nothing is known of would only be dashes.
    is_text = {each: columns[each].dtype == "string" for each in columns}
    known = [
        each
        for each in columns
        if (frame[each] != "" if is_text[each] else frame[each].notna()).any()
    ]
    empty = [each for each in columns if each not in known and not is_text[each]]
    rows = frame.head(MOST_ROWS)[known].itertuples(index=False)
    words = [
        [cell(value, columns[each]) for value, each in zip(row, known, strict=True)] for row in rows
    ]
    note = _note(frame, name, empty, sources)
    if name == "sources" and words:
        # Many numbers of few files: a row a number, and a column a file.
        known, *words = ([*column] for column in zip(known, *words, strict=True))
    return WordTable(name, _TITLES[name], known, words, note)


def _note(frame: pd.DataFrame, name: str, empty: list[str], sources: Sequence[Source]) -> str:
    told = []
    if len(frame) > MOST_ROWS:
        told.append(f"The first {MOST_ROWS:,} of {len(frame):,} rows; the CSV has all.")
    if empty and len(frame):
        told.append(f"Not told, so unknown: {', '.join(empty)}.")
    if name == "sources":
        abouts = dict.fromkeys((source.format, source.about) for source in sources)
        told += [f"{format_}: {about}" for format_, about in abouts]
        told += [f"{source.name}: {note}." for source in sources for note in source.notes]
    return "\n".join(told)


def cell(value: Any, column: Column) -> str:
    """A value of a frame as a text."""
    if pd.isna(value):
        return UNKNOWN
    if column.dtype == "string":
        return str(value)
    if column.dtype in ("int64", "Int64"):
        return f"{int(value):,}"
    return f"{value:.1%}" if column.unit == "0 to 1" else f"{value:,.2f}"
