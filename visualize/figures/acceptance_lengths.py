"""How many tokens the steps of a run emitted."""

from collections import Counter
from typing import NamedTuple

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.figures.kinds import RunFigure
from visualize.figures.style import finish_figure, whole_steps
from visualize.palette import BLUE, GREY, Theme
from visualize.steps import all_steps


class AcceptanceLengthsInfo(NamedTuple):
    """A row an acceptance length, from 1 to the longest; its mean over the steps is tau."""

    acceptance_length: list[int]
    num_steps: list[int]
    mean_length: float | None


def acceptance_lengths_info(trace: Trace) -> AcceptanceLengthsInfo:
    """Steps of a run by the number of tokens they emitted; pieces of a server's text are no steps, and
    what is known to be several is left out."""
    lengths = [len(step.committed.token_ids) for step in all_steps(trace) if step.num_forwards == 1]
    counts = Counter(lengths)
    values = list(range(1, max(lengths, default=0) + 1))
    return AcceptanceLengthsInfo(
        acceptance_length=values,
        num_steps=[counts[value] for value in values],
        mean_length=sum(lengths) / len(lengths) if lengths else None,
    )


def acceptance_lengths_figure(info: AcceptanceLengthsInfo, theme: Theme = "light") -> go.Figure:
    """A histogram with its mean."""
    figure = go.Figure(go.Bar(x=info.acceptance_length, y=info.num_steps, marker={"color": BLUE}))
    subtitle = "no steps"
    if info.mean_length is not None:
        figure.add_vline(x=info.mean_length, line={"dash": "dash", "color": GREY})
        subtitle = f"tau = {info.mean_length:.2f} over {sum(info.num_steps):,} steps"
    figure.update_xaxes(dtick=whole_steps(len(info.acceptance_length)))
    return finish_figure(
        figure,
        title="Steps by acceptance length",
        subtitle=subtitle,
        x_title="acceptance length (tokens, the target's own included)",
        y_title="steps",
        theme=theme,
        is_empty=not info.acceptance_length,
    )


FIGURE = RunFigure(4, acceptance_lengths_info, acceptance_lengths_figure)
