"""A benchmark's comparison as one HTML file with plots, which opens offline."""

from collections.abc import Mapping, Sequence
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
    parts = {phase: [row["phases"][f"{phase}_ms"] for row in shown] for phase in PHASE_COLOURS}
    figure = _parts_figure(
        shown,
        parts,
        barmode="stack",
        title="Where a step's time goes",
        subtitle="mean of all steps",
        y_title="milliseconds a step",
    )
    for bar in figure.data:
        bar.marker.color = PHASE_COLOURS[bar.name]
    return figure


def _pauses_figure(rows: Sequence[dict[str, Any]]) -> go.Figure:
    shown = [row for row in rows if row["category"] == _ALL and row["pauses"]]
    parts = {
        share: [1e3 * row["pauses"][f"{share}_s"] for row in shown]
        for share in ("p50", "p95", "p99")
    }
    return _parts_figure(
        shown,
        parts,
        barmode="group",
        title="Pauses between texts",
        subtitle="what 50, 95 and 99% of all pauses do not exceed",
        y_title="milliseconds",
    )


def _parts_figure(
    shown: Sequence[dict[str, Any]],
    parts: Mapping[str, Sequence[float]],
    *,
    barmode: str,
    title: str,
    subtitle: str,
    y_title: str,
) -> go.Figure:
    """Bars of each runner, one a part."""
    names = [figure_text(row["runner"]) for row in shown]
    bars = [go.Bar(name=name, x=names, y=values) for name, values in parts.items()]
    return finish_figure(
        go.Figure(bars).update_layout(barmode=barmode),
        title=title,
        subtitle=subtitle,
        x_title="runner",
        y_title=y_title,
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
