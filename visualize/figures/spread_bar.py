"""Bars with whiskers from a low to a high value: one a run, each in a colour of its own."""

from collections.abc import Sequence

import plotly.graph_objects as go

from visualize.labels import figure_text
from visualize.palette import RUN_COLOURS


def spread_bar(
    names: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    texts: Sequence[str],
) -> go.Bar:
    """All sequences have an entry a bar; `texts` are written in them."""
    return go.Bar(
        x=[figure_text(name) for name in names],
        y=list(values),
        text=list(texts),
        textposition="inside",
        insidetextanchor="middle",
        marker={"color": [RUN_COLOURS[i % len(RUN_COLOURS)] for i in range(len(names))]},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": _distances(highs, values),
            "arrayminus": _distances(values, lows),
        },
    )


def _distances(high: Sequence[float], low: Sequence[float]) -> list[float]:
    return [top - bottom for top, bottom in zip(high, low, strict=True)]
