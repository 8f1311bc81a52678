"""What all figures share: templates for light and dark, and one way to make and read them.

An info is a NamedTuple. Its lists are columns of equal length, a row an entry; what is not a list
concerns the figure as a whole.
"""

from typing import Any, Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from visualize.palette import RUN_COLOURS, Theme


def _template(ink: str, grid: str) -> go.layout.Template:
    axis = {"gridcolor": grid, "linecolor": grid, "zerolinecolor": grid, "automargin": True}
    return go.layout.Template(
        layout={
            "colorway": list(RUN_COLOURS),
            "font": {"color": ink, "family": "system-ui, sans-serif", "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "title": {
                "x": 0,
                "xref": "paper",
                "font": {"size": 15},
                "subtitle": {"font": {"size": 12}},
            },
            "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
            "margin": {"l": 60, "r": 60, "t": 70, "b": 90},
        }
    )


TEMPLATES: Final[dict[Theme, go.layout.Template]] = {
    "light": _template("#1f2933", "#d5dbe1"),
    "dark": _template("#e4e7eb", "#3b4654"),
}


def finish_figure(
    figure: go.Figure,
    *,
    title: str,
    subtitle: str,
    theme: Theme,
    is_empty: bool,
    x_title: str | None = None,
    y_title: str | None = None,
) -> go.Figure:
    """Gives a figure its title, axes and template; an empty one says that it has no data."""
    figure.update_layout(
        title={"text": title, "subtitle": {"text": subtitle}}, template=TEMPLATES[theme]
    )
    if x_title is not None:
        figure.update_xaxes(title={"text": x_title})
    if y_title is not None:
        figure.update_yaxes(title={"text": y_title})
    if is_empty:
        figure.add_annotation(
            text="this run has nothing to show here",
            showarrow=False,
            x=0.5,
            y=0.5,
            xref="paper",
            yref="paper",
        )
    return figure


def info_frame(info: NamedTuple) -> pd.DataFrame:
    """The data of a figure as a frame, a column for every list of its info."""
    values: dict[str, Any] = info._asdict()
    return pd.DataFrame({name: value for name, value in values.items() if isinstance(value, list)})


def whole_steps(largest: int) -> int:
    """Distance of ticks on an axis that counts: whole numbers, about eight of them."""
    return max(1, -(-largest // 8))


def share(part: int, whole: int) -> float | None:
    """The ratio; None where there is nothing to divide by."""
    return part / whole if whole else None
