"""The files and figures of a run. Pandas and plotly are imported with the first of them."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

from core.runtime.strict_json import dumps
from core.trace.file import Trace, save_trace
from visualize.imports.records import Source

TABLES: Final = ("runs", "steps", "tokens", "nodes")
# The page draws it itself, as the run goes on.
_OWN_FIGURE = "step_times"


def _csv(table: str, trace: Trace, path: Path) -> None:
    export_table([trace], path, table)


def _perfetto(trace: Trace, path: Path) -> None:
    from visualize.perfetto import export_perfetto

    export_perfetto(trace, path)


def _report(trace: Trace, path: Path) -> None:
    from visualize.report.page import export_report

    export_report(trace, path)


DOWNLOADS: Final[dict[str, Callable[[Trace, Path], None]]] = {
    **{f"{table}.csv": partial(_csv, table) for table in TABLES},
    "trace.jsonl": save_trace,
    "perfetto.json": _perfetto,
    "report.html": _report,
}


def export_table(traces: Sequence[Trace], path: Path, table: str) -> None:
    """One table over several runs as a CSV file."""
    from visualize.exports import export_csv

    export_csv(traces, path, table)


def export_import_table(sources: Sequence[Source], path: Path, table: str) -> None:
    """One table over files of other programs, and runs beside them, as a CSV file."""
    from visualize.exports import write_frame
    from visualize.imports.tables import import_frame

    write_frame(import_frame(sources, table), path)


def export_import_report(sources: Sequence[Source], path: Path) -> None:
    """Their tables and figures as one HTML file."""
    from visualize.report.imported import export_imports

    export_imports(sources, path)


def figures_json(trace: Trace, theme: Literal["light", "dark"]) -> str:
    """The figures of a run by name, as plotly's JSON."""
    from visualize.figures.catalogue import ONE_RUN_FIGURES

    drawn = {
        name: json.loads(kind.draw(trace, theme).to_json())
        for name, kind in ONE_RUN_FIGURES.items()
        if name != _OWN_FIGURE
    }
    return dumps(drawn)


def has_figure(name: str) -> bool:
    """Whether a figure of a run has that name."""
    from visualize.figures.catalogue import ONE_RUN_FIGURES

    return name in ONE_RUN_FIGURES


def export_figure(name: str, trace: Trace, path: Path) -> None:
    """The data of one figure as a CSV file."""
    from visualize.exports import write_frame
    from visualize.figures.catalogue import ONE_RUN_FIGURES
    from visualize.figures.style import info_frame

    write_frame(info_frame(ONE_RUN_FIGURES[name].info(trace)), path)
