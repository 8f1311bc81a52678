"""What profiles predict as one HTML file with plots, which opens offline."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from visualize.figures.setting_map import setting_map_figure, setting_map_info
from visualize.report.measured import TextTable, measured_html


def lab_html(report: dict[str, Any], tables: Sequence[TextTable]) -> str:
    """The page of a report as `core.benchmark.profile` writes it: a map of two settings a mode."""
    figures: dict[str, go.Figure] = {
        f"map_of_{place}": setting_map_figure(setting_map_info(each, label))
        for place, (label, each) in enumerate(report["maps"].items(), start=1)
    }
    return measured_html("SpecDecodes profiles", report, tables, figures)
