"""How often drafts hold to a position, in files of other programs and in runs beside them."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from visualize.figures.kinds import SourceFigure
from visualize.figures.style import finish_figure, whole_steps
from visualize.imports.records import Source
from visualize.imports.tables import import_frame
from visualize.labels import figure_text
from visualize.palette import RUN_COLOURS, Theme


class AcceptanceByPositionInfo(NamedTuple):
    """A row a source and position, from 1; not given that the position before was accepted."""

    source: list[str]
    position: list[int]
    share: list[float]


def acceptance_by_position_info(sources: Sequence[Source]) -> AcceptanceByPositionInfo:
    """Of the sources that hold steps or a histogram."""
    frame = import_frame(sources, "accepted_counts")
    frame = frame[frame["num_accepted"] > 0]
    return AcceptanceByPositionInfo(
        frame["source"].tolist(), frame["num_accepted"].tolist(), frame["share_at_least"].tolist()
    )


def acceptance_by_position_figure(
    info: AcceptanceByPositionInfo, theme: Theme = "light"
) -> go.Figure:
    """A line a source."""
    figure = go.Figure()
    for index, name in enumerate(dict.fromkeys(info.source)):
        rows = [row for row, source in enumerate(info.source) if source == name]
        figure.add_trace(
            go.Scatter(
                x=[info.position[row] for row in rows],
                y=[info.share[row] for row in rows],
                name=figure_text(name),
                mode="lines+markers",
                line={"color": RUN_COLOURS[index % len(RUN_COLOURS)], "width": 2},
            )
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(dtick=whole_steps(max(info.position, default=1)))
    figure.update_yaxes(range=[0, 1.05], tickformat=".0%")
    return finish_figure(
        figure,
        title="Acceptance by position in the draft",
        subtitle="share of the steps that accepted a draft token there",
        x_title="position (draft tokens)",
        y_title="share of the steps",
        theme=theme,
        is_empty=not info.source,
    )


FIGURE = SourceFigure(2, acceptance_by_position_info, acceptance_by_position_figure)
