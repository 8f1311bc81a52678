"""The files and figures of a run. Pandas and plotly are imported with the first of them."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

from core.runtime.strict_json import dumps
from core.trace.file import Trace, save_trace

TABLES: Final = ("runs", "steps", "tokens", "nodes")
FIGURES: Final = (
    "tokens_over_time",
    "acceptance_by_depth",
    "acceptance_lengths",
    "calibration",
    "entropy_vs_acceptance",
)


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


def figures_json(trace: Trace, theme: Literal["light", "dark"]) -> str:
    """All figures of a run by name, as plotly's JSON."""
    from visualize.figures.catalogue import COMPARE_FIGURES, RUN_FIGURES

    drawn = {
        name: RUN_FIGURES[name].draw(trace, theme)
        if name in RUN_FIGURES
        else COMPARE_FIGURES[name].draw([trace], theme)
        for name in FIGURES
    }
    return dumps({name: json.loads(figure.to_json()) for name, figure in drawn.items()})


def export_figure(name: str, trace: Trace, path: Path) -> None:
    """The data of one figure as a CSV file."""
    from visualize.exports import write_frame
    from visualize.figures.catalogue import COMPARE_FIGURES, RUN_FIGURES
    from visualize.figures.style import info_frame

    is_own = name in RUN_FIGURES
    info = RUN_FIGURES[name].info(trace) if is_own else COMPARE_FIGURES[name].info([trace])
    write_frame(info_frame(info), path)
