"""Tables of a summary, for the terminal and as Markdown."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from core.benchmark.summary import ALL, Row

_NONE = "-"
_MIN_WIDTH = 160


class Table(NamedTuple):
    """A title, column names and rows of text; the first column is the runner's name."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Speed, time a step, and the ratio in each category; those that say something."""
    whole = [row for row in rows if row.category == ALL]
    tables = [_speed_table(whole), _phase_table(whole), _category_table(rows)]
    return [_without_empty_columns(table) for table in tables if table.rows]


def _without_empty_columns(table: Table) -> Table:
    told = [
        place
        for place in range(len(table.columns))
        if any(cells[place] != _NONE for cells in table.rows)
    ]
    rows = [tuple(cells[place] for place in told) for cells in table.rows]
    return Table(table.title, tuple(table.columns[place] for place in told), rows)


def _speed_table(rows: Sequence[Row]) -> Table:
    columns = (
        "", "tokens/s", "ratio (95%)", "with prompt", "tau", "accepted", "same as naive",
        "first difference", "failed",
    )  # fmt: skip
    return Table("All questions", columns, [_speed_cells(row) for row in rows])


def _speed_cells(row: Row) -> tuple[str, ...]:
    ratio, tested = row.ratio, row.num_tested
    gap = "" if row.largest_gap is None else f", gap {row.largest_gap:.2g}"
    return (
        row.runner,
        _number(row.tokens_per_s, 1),
        f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio else _NONE,
        _number(row.total_ratio, 2),
        _number(row.acceptance_length, 2),
        f"{row.num_accepted} of {tested}, {row.num_accepted / tested:.0%}" if tested else _NONE,
        f"{row.num_identical} of {row.num_compared}" if row.num_compared else _NONE,
        _NONE if row.first_position is None else f"at {row.first_position}{gap}",
        f"{row.num_failed} of {row.num_failed + row.num_answers}" if row.num_failed else "0",
    )


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


def markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown, each under its title."""
    return "\n\n".join(map(_markdown_table, tables))


def _markdown_table(table: Table) -> str:
    ruler = ("---", *("---:" for _ in table.columns[1:]))
    lines = [table.columns, ruler, *table.rows]
    body = "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)
    return f"**{table.title}**\n\n{body}"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
