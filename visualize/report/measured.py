"""What a benchmark measured as one HTML file with plots and tables, which opens offline."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import plotly.graph_objects as go

from visualize.report.document import filled_page, plain_figures, plain_templates


class TextTable(Protocol):
    """A table of texts, as a benchmark makes it."""

    @property
    def title(self) -> str: ...

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def rows(self) -> Sequence[Sequence[str]]: ...

    @property
    def note(self) -> str:
        """What is to be known of its figures."""
        ...


def measured_html(
    title: str,
    report: Mapping[str, Any],
    tables: Sequence[TextTable],
    figures: Mapping[str, go.Figure],
) -> str:
    """The page of a report: of any, `target`, `versions`, `device`, `finished_at`, `command` and
    `configs` are shown."""
    target, versions = report["target"], report["versions"]
    packages = [f"{name} {version}" for name, version in versions.items()]
    parts = [
        target["name"], target["dtype"], report["device"], *packages, report["finished_at"],
    ]  # fmt: skip
    return filled_page(
        "comparison",
        title,
        {
            "subtitle": " · ".join(parts),
            "command": report["command"],
            "configs": report["configs"],
            "tables": [
                {
                    "title": table.title,
                    "columns": list(table.columns),
                    "rows": [list(row) for row in table.rows],
                    "note": table.note,
                }
                for table in tables
            ],
            "figures": plain_figures(figures),
            "templates": plain_templates(),
        },
    )
