"""How well drafts fit the questions of each category, in files of other programs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import plotly.graph_objects as go

from visualize.figures.kinds import SourceFigure
from visualize.figures.style import finish_figure
from visualize.imports.records import Source
from visualize.imports.tables import import_frame
from visualize.labels import figure_text
from visualize.palette import RUN_COLOURS, Theme


class AcceptanceByCategoryInfo(NamedTuple):
    """A row a source and category; what a file does not tell is None."""

    source: list[str]
    category: list[str]
    num_answers: list[int]
    acceptance_length: list[float | None]
    acceptance_rate: list[float | None]


def acceptance_by_category_info(sources: Sequence[Source]) -> AcceptanceByCategoryInfo:
    """Of the answers that have a category, all those of one taken together."""
    info = AcceptanceByCategoryInfo([], [], [], [], [])
    for source in sources:
        for category in dict.fromkeys(record.category for record in source.told):
            of_it = [record for record in source.told if record.category == category]
            if category:
                frame = import_frame([replace(source, records=of_it, whole=None)])
                row = frame.astype(object).where(frame.notna(), None).iloc[0]
                info.source.append(source.name)
                info.category.append(category)
                info.num_answers.append(len(of_it))
                info.acceptance_length.append(row["acceptance_length"])
                info.acceptance_rate.append(row["acceptance_rate"])
    return info


def acceptance_by_category_figure(
    info: AcceptanceByCategoryInfo, theme: Theme = "light"
) -> go.Figure:
    """Bars of the tokens a step; of the rate where no source tells any."""
    has_lengths = any(value is not None for value in info.acceptance_length)
    values = info.acceptance_length if has_lengths else info.acceptance_rate
    figure = go.Figure()
    for index, name in enumerate(dict.fromkeys(info.source)):
        rows = [row for row, source in enumerate(info.source) if source == name]
        figure.add_trace(
            go.Bar(
                x=[figure_text(info.category[row]) for row in rows],
                y=[values[row] for row in rows],
                name=figure_text(name),
                marker={"color": RUN_COLOURS[index % len(RUN_COLOURS)]},
            )
        )
    figure.update_layout(barmode="group", showlegend=True)
    figure.update_xaxes(type="category")
    if not has_lengths:
        figure.update_yaxes(tickformat=".0%")
    return finish_figure(
        figure,
        title="Acceptance by category",
        subtitle="tokens a step over all steps"
        if has_lengths
        else "accepted of the drafted tokens",
        x_title="category",
        y_title="tokens a step" if has_lengths else "accepted / drafted",
        theme=theme,
        is_empty=not any(value is not None for value in values),
    )


FIGURE = SourceFigure(4, acceptance_by_category_info, acceptance_by_category_figure)
