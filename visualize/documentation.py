"""Writes the tables of docs/traces.md and docs/imports.md: `python -m visualize.documentation`."""

import ast
import inspect
import re
import sys
from pathlib import Path

from core.trace.events import EVENT_CLASSES, Event
from visualize.columns import COLUMNS
from visualize.imports.columns import IMPORT_COLUMNS

PAGES = {
    Path(__file__).parent.parent / "docs" / "traces.md": COLUMNS,
    Path(__file__).parent.parent / "docs" / "imports.md": IMPORT_COLUMNS,
}
_TABLES = COLUMNS | IMPORT_COLUMNS
_PLACE = re.compile(r"(<!-- (columns|events)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with every table between its marks made anew."""

    def fill(match: re.Match[str]) -> str:
        start, kind, table, end = match.groups()
        content = columns_table(table) if kind == "columns" else event_sections()
        return f"{start}{content}\n{end}"

    return _PLACE.sub(fill, page)


def columns_table(table: str) -> str:
    """The columns of a table in Markdown."""
    rows: list[tuple[str, ...]] = [
        (f"`{name}`", column.dtype, column.unit, column.meaning)
        for name, column in _TABLES[table].items()
    ]
    return _markdown(("column", "dtype", "unit", "meaning"), rows)


def event_sections() -> str:
    """All kinds of events with their fields, types and docstrings, as the source has them."""
    module = ast.parse(Path(inspect.getfile(Event)).read_text("utf-8"))
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    sections = []
    kinds: list[type[Event]] = [Event, *EVENT_CLASSES.values()]
    for cls in kinds:
        title = "### Fields of every event" if cls is Event else f"### `{cls.kind}`"
        rows = _fields(classes[cls.__name__])
        sections += [
            title,
            inspect.getdoc(cls) or "",
            _markdown(("field", "type", "meaning"), rows),
        ]
    return "\n\n".join(sections)


def _fields(cls: ast.ClassDef) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for node, after in zip(cls.body, [*cls.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or "ClassVar" in ast.unparse(node.annotation):
            continue
        has_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        text = str(after.value.value) if has_text else ""  # type: ignore[union-attr]
        rows.append(
            (
                f"`{ast.unparse(node.target)}`",
                f"`{ast.unparse(node.annotation)}`",
                " ".join(text.split()),
            )
        )
    return rows


def _markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def main() -> int:
    """Writes the pages anew."""
    for page in PAGES:
        page.write_text(with_tables(page.read_text("utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
