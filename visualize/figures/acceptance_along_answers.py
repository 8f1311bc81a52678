"""How acceptance changes along the answers, in files of other programs and in runs beside them."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from visualize.figures.kinds import SourceFigure
from visualize.figures.style import finish_figure
from visualize.imports.records import Source
from visualize.labels import figure_text
from visualize.palette import RUN_COLOURS, Theme


class AcceptanceAlongAnswersInfo(NamedTuple):
    """A row a source and place among the steps of an answer that are told, from 1."""

    source: list[str]
    step: list[int]
    num_answers: list[int]
    """Answers that have so many steps."""
    num_accepted: list[float]
    """Draft tokens that they accepted there, on average."""


def acceptance_along_answers_info(sources: Sequence[Source]) -> AcceptanceAlongAnswersInfo:
    """Of the sources that hold steps."""
    info = AcceptanceAlongAnswersInfo([], [], [], [])
    for source in sources:
        answers = [record.accepted_by_step or () for record in source.told]
        for place in range(max(map(len, answers), default=0)):
            kept = [answer[place] for answer in answers if place < len(answer)]
            info.source.append(source.name)
            info.step.append(place + 1)
            info.num_answers.append(len(kept))
            info.num_accepted.append(sum(kept) / len(kept))
    return info


def acceptance_along_answers_figure(
    info: AcceptanceAlongAnswersInfo, theme: Theme = "light"
) -> go.Figure:
    """A line a source."""
    figure = go.Figure()
    for index, name in enumerate(dict.fromkeys(info.source)):
        rows = [row for row, source in enumerate(info.source) if source == name]
        figure.add_trace(
            go.Scatter(
                x=[info.step[row] for row in rows],
                y=[info.num_accepted[row] for row in rows],
                name=figure_text(name),
                mode="lines",
                line={"color": RUN_COLOURS[index % len(RUN_COLOURS)], "width": 2},
                customdata=[info.num_answers[row] for row in rows],
                hovertemplate="step %{x}: %{y:.2f} accepted, of %{customdata} answers",
            )
        )
    figure.update_layout(showlegend=True)
    figure.update_yaxes(rangemode="tozero")
    return finish_figure(
        figure,
        title="Accepted draft tokens along the answers",
        subtitle="mean of the answers that have so many steps",
        x_title="step",
        y_title="accepted draft tokens",
        theme=theme,
        is_empty=not info.source,
    )


FIGURE = SourceFigure(3, acceptance_along_answers_info, acceptance_along_answers_figure)
