"""Tables of a summary, for the terminal and as Markdown, and rows as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from core.benchmark.measurement import Measurement
from core.benchmark.summary import ALL, Row

if TYPE_CHECKING:
    from core.benchmark.runners import Facts

_NONE = "-"
_MIN_WIDTH = 160
_PAUSES_NOTE = (
    "From one emission of an answer to its next, of all answers; a step's tokens come at once."
)
_RESOURCES_NOTE = (
    "Memory is the most that the processes of a runner held while it answered; runners in this "
    "process share it, with all that each keeps. GPU memory is what torch holds, so on a GPU only. "
    "A dash: the machine does not tell, or the runner is out of sight."
)


class Table(NamedTuple):
    """A title, column names and rows of text; the first column is the runner's name."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    """What is to be known of the figures."""


def tables_of(
    rows: Sequence[Row], energy: str, measurements: Sequence[Measurement] = ()
) -> list[Table]:
    """Speed, time a step, pauses, ratios by category, memory and energy, and answers that failed.

    `energy` says what counts it, or why nothing does. Tables without rows are left out.
    """
    whole = [row for row in rows if row.category == ALL]
    tables = [speed_table(whole), _phase_table(whole), _pause_table(whole), _category_table(rows)]
    told = [_without_empty_columns(table) for table in tables if table.rows]
    others = [_resource_table(whole, energy), _failure_table(measurements)]
    return told + [table for table in others if table.rows]


def _without_empty_columns(table: Table) -> Table:
    told = [
        place
        for place in range(len(table.columns))
        if any(cells[place] != _NONE for cells in table.rows)
    ]
    rows = [tuple(cells[place] for place in told) for cells in table.rows]
    return table._replace(columns=tuple(table.columns[place] for place in told), rows=rows)


def speed_table(rows: Sequence[Row]) -> Table:
    """Speed, drafts and sameness of each runner; a dash for what is not known of one."""
    columns = (
        "", "tokens/s", "ratio (95%)", "with prompt", "first token ms", "tau", "drafted", "accepted",
        "same as naive", "first difference", "failed",
    )  # fmt: skip
    return Table("All questions", columns, [_speed_cells(row) for row in rows])


def _speed_cells(row: Row) -> tuple[str, ...]:
    ratio = row.ratio
    gap = "" if row.largest_gap is None else f", gap {row.largest_gap:.2g}"
    return (
        row.runner,
        _number(row.tokens_per_s, 1),
        f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio else _NONE,
        _number(row.total_ratio, 2),
        _NONE if row.first_s is None else f"{1e3 * row.first_s:.0f}",
        ("≤ " if row.tau_is_bound else "") + _number(row.acceptance_length, 2),
        str(row.num_drafted) if row.num_drafted else _NONE,
        _accepted_cell(row),
        f"{row.num_identical} of {row.num_compared}" if row.num_compared else _NONE,
        _NONE if row.first_position is None else f"at {row.first_position}{gap}",
        f"{row.num_failed} of {row.num_failed + row.num_answers}" if row.num_failed else "0",
    )


def _accepted_cell(row: Row) -> str:
    """Of the tested tokens; of the drafted ones where a server does not tell how many it tested."""
    accepted, tested, drafted = row.num_accepted, row.num_tested, row.num_drafted
    if accepted is None or not (tested or drafted):
        return _NONE
    if tested:
        return f"{accepted} of {tested}, {accepted / tested:.0%}"
    return f"{accepted} of {drafted} drafted, {accepted / (drafted or 1):.0%}"


def _phase_table(rows: Sequence[Row]) -> Table:
    cells = [
        (
            row.runner,
            str(row.phases.num_steps),
            *(f"{milliseconds:.2f}" for milliseconds in row.phases[:-1]),
        )
        for row in rows
        if row.phases
    ]
    columns = ("", "steps", "draft", "verify", "accept", "commit", "other")
    return Table("Milliseconds a step", columns, cells)


def _pause_table(rows: Sequence[Row]) -> Table:
    cells = [
        (
            row.runner,
            *(f"{1e3 * seconds:.1f}" for seconds in row.pauses[:-1]),
            str(row.pauses.num_pauses),
        )
        for row in rows
        if row.pauses
    ]
    columns = ("", "p50", "p95", "p99", "longest", "pauses")
    return Table("Pauses between texts, ms", columns, cells, _PAUSES_NOTE)


def _category_table(rows: Sequence[Row]) -> Table:
    """Ratios where something was compared with plain decoding, else tokens/s."""
    categories = [name for name in dict.fromkeys(row.category for row in rows) if name != ALL]
    has_ratios = any(row.ratio for row in rows)
    title = "Ratio to naive by category" if has_ratios else "Tokens/s by category"
    cells = []
    for runner in dict.fromkeys(row.runner for row in rows):
        by_category = {row.category: row for row in rows if row.runner == runner}
        cells.append(
            (runner, *(_category_cell(by_category[name], has_ratios) for name in categories))
        )
    return Table(title, ("", *categories), cells)


def _category_cell(row: Row, has_ratios: bool) -> str:
    if has_ratios:
        return _number(row.ratio.median if row.ratio else None, 2)
    return _number(row.tokens_per_s, 1)


def _resource_table(rows: Sequence[Row], energy: str) -> Table:
    """A dash stands where the machine does not tell; the note says why."""
    columns = ("", "peak memory, MB", "peak GPU memory, MB", "joules a token")
    cells = [
        (
            row.runner,
            _megabytes(row.peak_resident_bytes),
            _megabytes(row.peak_gpu_bytes),
            _number(row.joules_per_token, 3),
        )
        for row in rows
    ]
    return Table("Memory and energy", columns, cells, f"{_RESOURCES_NOTE} Energy: {energy}.")


def _megabytes(value: int | None) -> str:
    return _NONE if value is None else f"{value / 1e6:.0f}"


def _failure_table(measurements: Sequence[Measurement]) -> Table:
    columns = ("", "question", "category", "turn", "repeat", "why")
    cells = [
        (
            item.runner, str(item.question_id), item.category, str(item.turn), str(item.repeat),
            item.error,
        )
        for item in measurements
        if item.error is not None
    ]  # fmt: skip
    return Table("Failed answers", columns, cells, "They enter no figure.")


def facts_table(facts: Mapping[str, "Facts"]) -> list[Table]:
    """What runners differ in beside their method; empty where they do not."""
    if len(set(facts.values())) < 2:
        return []
    rows = [(runner, *own) for runner, own in facts.items()]
    return [Table("What differs", ("", "weights", "arithmetic", "asked and counted"), rows)]


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def print_tables(tables: Sequence[Table]) -> None:
    """Prints to the terminal; a pipe gets lines wide enough for every column."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _MIN_WIDTH))
    for table in tables:
        shown = RichTable(title=table.title, title_justify="left")
        for index, column in enumerate(table.columns):
            shown.add_column(escape(column), justify="right" if index else "left")
        for cells in table.rows:
            shown.add_row(*map(escape, cells))
        console.print(shown)
        if table.note:
            console.print(escape(table.note), highlight=False)


def markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown, each under its title."""
    return "\n\n".join(map(_markdown_table, tables))


def _markdown_table(table: Table) -> str:
    ruler = ("---", *("---:" for _ in table.columns[1:]))
    lines = [table.columns, ruler, *table.rows]
    body = "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)
    note = f"\n\n{table.note}" if table.note else ""
    return f"**{table.title}**\n\n{body}{note}"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, with a column for every name that one of them has, in the order of their coming."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
