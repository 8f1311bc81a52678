"""A benchmark's comparison as one HTML file with plots, which opens offline."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from visualize.figures.spread_bar import spread_bar
from visualize.figures.style import finish_figure
from visualize.labels import figure_text
from visualize.palette import PHASE_COLOURS
from visualize.report.measured import TextTable, measured_html

_ALL = "all"


def comparison_html(report: dict[str, Any], tables: Sequence[TextTable]) -> str:
    """The page of a report as `core.benchmark` writes it."""
    rows = report["summary"]
    figures = {
        "ratio": _ratio_figure(rows),
        "phases": _phases_figure(rows),
        "pauses": _pauses_figure(rows),
        "ratio_by_category": _category_figure(rows),
    }
    return measured_html("SpecDecodes comparison", report, tables, figures)


def _ratio_figure(rows: Sequence[dict[str, Any]]) -> go.Figure:
    shown = [row for row in rows if row["category"] == _ALL and row["ratio"]]
    ratios = [row["ratio"] for row in shown]
    bar = spread_bar(
        [row["runner"] for row in shown],
        [ratio["median"] for ratio in ratios],
        [ratio["low"] for ratio in ratios],
        [ratio["high"] for ratio in ratios],
        [f"{ratio['median']:.2f}" for ratio in ratios],
    )
    return finish_figure(
        go.Figure(bar),
        title="Speed over plain decoding",
        subtitle="median over the questions, with its 95% bootstrap interval",
        x_title="runner",
        y_title="times plain decoding",
        theme="light",
        is_empty=not shown,
    )


def _phases_figure(rows: Sequence[dict[str, Any]]) -> go.Figure:
    shown = [row for row in rows if row["category"] == _ALL and row["phases"]]
    names = [figure_text(row["runner"]) for row in shown]
    bars = [
        go.Bar(
            name=phase,
            x=names,
            y=[row["phases"][f"{phase}_ms"] for row in shown],
            marker={"color": colour},
        )
        for phase, colour in PHASE_COLOURS.items()
    ]
    return finish_figure(
        go.Figure(bars).update_layout(barmode="stack"),
        title="Where a step's time goes",
        subtitle="mean of all steps",
        x_title="runner",
        y_title="milliseconds a step",
        theme="light",
        is_empty=not shown,
    )


def _pauses_figure(rows: Sequence[dict[str, Any]]) -> go.Figure:
    shown = [row for row in rows if row["category"] == _ALL and row["pauses"]]
    names = [figure_text(row["runner"]) for row in shown]
    bars = [
        go.Bar(name=share, x=names, y=[1e3 * row["pauses"][f"{share}_s"] for row in shown])
        for share in ("p50", "p95", "p99")
    ]
    return finish_figure(
        go.Figure(bars).update_layout(barmode="group"),
        title="Pauses between texts",
        subtitle="what 50, 95 and 99% of all pauses do not exceed",
        x_title="runner",
        y_title="milliseconds",
        theme="light",
        is_empty=not shown,
    )


def _category_figure(rows: Sequence[dict[str, Any]]) -> go.Figure:
    shown = [row for row in rows if row["category"] != _ALL and row["ratio"]]
    bars = [
        go.Bar(
            name=figure_text(runner),
            x=[figure_text(row["category"]) for row in shown if row["runner"] == runner],
            y=[row["ratio"]["median"] for row in shown if row["runner"] == runner],
        )
        for runner in dict.fromkeys(row["runner"] for row in shown)
    ]
    return finish_figure(
        go.Figure(bars).update_layout(barmode="group"),
        title="Speed over plain decoding in each category",
        subtitle="median over the questions of the category",
        x_title="category",
        y_title="times plain decoding",
        theme="light",
        is_empty=not shown,
    )
