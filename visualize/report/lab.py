"""What profiles predict as one HTML file with plots, which opens offline."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from visualize.figures.drafter_curves import drafter_curves_figure, drafter_curves_info
from visualize.figures.setting_map import setting_map_figure, setting_map_info
from visualize.report.measured import TextTable, measured_html


def lab_html(report: dict[str, Any], tables: Sequence[TextTable]) -> str:
    """The page of a report as `core.benchmark.profile` writes it: all modes along batches and costs, and
    a map of two settings a mode."""
    figures: dict[str, go.Figure] = {
        f"along_{each['axis']}": drafter_curves_figure(
            drafter_curves_info(each), measure="times_plain"
        )
        for each in report["curves"]
    }
    for place, (label, each) in enumerate(report["maps"].items(), start=1):
        figures[f"map_of_{place}"] = setting_map_figure(setting_map_info(each, label))
    return measured_html("SpecDecodes profiles", report, tables, figures)
