"""Runs raced on one clock."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.figures.kinds import CompareFigure
from visualize.figures.style import finish_figure
from visualize.labels import figure_text, run_labels
from visualize.palette import RUN_COLOURS, Theme
from visualize.steps import all_steps


class TokensOverTimeInfo(NamedTuple):
    """A row a step of a run, with the tokens emitted until then; every run begins with 0 at 0 s."""

    run: list[str]
    t_s: list[float]
    num_tokens: list[int]


def tokens_over_time_info(traces: Sequence[Trace]) -> TokensOverTimeInfo:
    """Progress of several runs, each since its own start."""
    info = TokensOverTimeInfo([], [], [])
    for label, trace in zip(run_labels(traces), traces, strict=True):
        num_tokens = 0
        _append(info, label, 0.0, 0)
        for step in all_steps(trace):
            num_tokens += len(step.committed.token_ids)
            _append(info, label, step.committed.t_end_s, num_tokens)
    return info


def _append(info: TokensOverTimeInfo, label: str, t_s: float, num_tokens: int) -> None:
    info.run.append(label)
    info.t_s.append(t_s)
    info.num_tokens.append(num_tokens)


def tokens_over_time_figure(info: TokensOverTimeInfo, theme: Theme = "light") -> go.Figure:
    """A stepped line a run."""
    figure = go.Figure()
    for index, label in enumerate(dict.fromkeys(info.run)):
        rows = [row for row, name in enumerate(info.run) if name == label]
        figure.add_trace(
            go.Scatter(
                x=[info.t_s[row] for row in rows],
                y=[info.num_tokens[row] for row in rows],
                name=figure_text(label),
                mode="lines",
                line={"shape": "hv", "color": RUN_COLOURS[index % len(RUN_COLOURS)], "width": 2},
            )
        )
    figure.update_layout(showlegend=True)
    return finish_figure(
        figure,
        title="Tokens over time",
        subtitle="since the start of the run, the prompt's time included",
        x_title="time (s)",
        y_title="tokens",
        theme=theme,
        is_empty=not any(info.num_tokens),
    )


FIGURE = CompareFigure(2, tokens_over_time_info, tokens_over_time_figure)
