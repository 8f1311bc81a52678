"""Tables of runs as CSV files, and back.

A spreadsheet takes a cell that begins with one of `GUARDED` for a formula and would run it. Such
texts get an apostrophe in front; so do texts that begin with one, so that `read_csv` can undo it.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from core.errors import InvalidSettingError
from core.trace.file import Trace
from visualize.columns import COLUMNS
from visualize.frames import table_frame

GUARD = "'"
# The wide forms count as operators in spreadsheets of East Asian locales.
GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", GUARD)


def export_csv(traces: Trace | Sequence[Trace], path: Path, table: str) -> None:
    """Writes the table `runs`, `steps`, `tokens` or `nodes` of one run or of several as UTF-8."""
    write_frame(table_frame([traces] if isinstance(traces, Trace) else traces, table), path)


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Writes any frame, such as a figure's data or a summary, with its texts guarded."""
    # Exact numbers and missing cells keep their types: only texts are touched.
    guarded = {
        name: frame[name].map(_guard).astype(frame[name].dtype)
        for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name].dtype)
    }
    frame.assign(**guarded).to_csv(
        path,
        index=False,
        encoding="utf-8",
        errors="replace",
        lineterminator="\n",
        quoting=csv.QUOTE_NONNUMERIC,
    )


def read_csv(path: Path, table: str) -> pd.DataFrame:
    """Reads what `export_csv` wrote: the same frame with the same dtypes and texts."""
    if table not in COLUMNS:
        raise InvalidSettingError(f"table is {table!r}; give one of {', '.join(COLUMNS)}.")
    texts = _text_columns(table)
    frame = _read(path, table, texts)
    lacking = [name for name in COLUMNS[table] if name not in frame.columns]
    if lacking:
        raise InvalidSettingError(
            f"{path} lacks the columns {', '.join(lacking)}; give a table {table} of this version."
        )
    for name in texts:
        frame[name] = frame[name].map(_unguard).astype("string")
    return frame


def _read(path: Path, table: str, texts: list[str]) -> pd.DataFrame:
    return pd.read_csv(
        path,
        encoding="utf-8",
        dtype={name: column.dtype for name, column in COLUMNS[table].items()},
        keep_default_na=False,
        na_values={name: [""] for name in COLUMNS[table] if name not in texts},
    )


def _text_columns(table: str) -> list[str]:
    return [name for name, column in COLUMNS[table].items() if column.dtype == "string"]


def _guard(cell: object) -> object:
    return GUARD + cell if isinstance(cell, str) and cell.startswith(GUARDED) else cell


def _unguard(text: str) -> str:
    return text.removeprefix(GUARD)
