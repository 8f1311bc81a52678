"""How many draft tokens the steps of files of other programs kept, and of runs beside them."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from visualize.figures.kinds import SourceFigure
from visualize.figures.style import finish_figure, whole_steps
from visualize.imports.records import Source
from visualize.imports.tables import import_frame
from visualize.labels import figure_text
from visualize.palette import RUN_COLOURS, Theme


class AcceptedCountsInfo(NamedTuple):
    """A row a source and number of accepted draft tokens, of the steps that the source tells."""

    source: list[str]
    num_accepted: list[int]
    num_steps: list[int]
    share: list[float]


def accepted_counts_info(sources: Sequence[Source]) -> AcceptedCountsInfo:
    """Of the sources that hold steps or a histogram."""
    frame = import_frame(sources, "accepted_counts")
    return AcceptedCountsInfo(*(frame[name].tolist() for name in AcceptedCountsInfo._fields))


def accepted_counts_figure(info: AcceptedCountsInfo, theme: Theme = "light") -> go.Figure:
    """Bars side by side, each a share of its source's steps."""
    figure = go.Figure()
    for index, name in enumerate(dict.fromkeys(info.source)):
        rows = [row for row, source in enumerate(info.source) if source == name]
        figure.add_trace(
            go.Bar(
                x=[info.num_accepted[row] for row in rows],
                y=[info.share[row] for row in rows],
                name=figure_text(name),
                marker={"color": RUN_COLOURS[index % len(RUN_COLOURS)]},
                customdata=[info.num_steps[row] for row in rows],
                hovertemplate="%{x} accepted: %{customdata} steps, %{y:.1%}",
            )
        )
    figure.update_layout(barmode="group", showlegend=True)
    figure.update_xaxes(dtick=whole_steps(max(info.num_accepted, default=1)))
    figure.update_yaxes(tickformat=".0%")
    return finish_figure(
        figure,
        title="Steps by accepted draft tokens",
        subtitle="of the steps with a draft; of all steps where a file tells no others apart",
        x_title="accepted draft tokens",
        y_title="share of the steps",
        theme=theme,
        is_empty=not info.source,
    )


FIGURE = SourceFigure(1, accepted_counts_info, accepted_counts_figure)
