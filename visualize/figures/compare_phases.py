"""Where the time of a token goes in each of several runs."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from core.trace.file import Trace
from core.trace.stats import RunStats
from visualize.compare import run_groups
from visualize.figures.kinds import CompareFigure
from visualize.figures.style import finish_figure
from visualize.labels import figure_text
from visualize.palette import PHASE_COLOURS, UNTOLD_COLOUR, Theme


class ComparePhasesInfo(NamedTuple):
    """A row a run with its repeats: milliseconds of its steps by phase, over its tokens."""

    run: list[str]
    draft_ms: list[float | None]
    """None where a server does not tell its phases, as for the next four."""
    verify_ms: list[float | None]
    accept_ms: list[float | None]
    commit_ms: list[float | None]
    other_ms: list[float | None]
    untold_ms: list[float | None]
    """Whole steps of a server; None where the phases are known."""


def compare_phases_info(traces: Sequence[Trace]) -> ComparePhasesInfo:
    """Times of the runs that emitted anything; the prompt's is apart."""
    info = ComparePhasesInfo([], [], [], [], [], [], [])
    for group in run_groups(traces):
        total = RunStats()
        for trace in group.whole:
            total.merge(trace.stats)
        num_tokens = total.num_tokens - total.num_untimed
        if num_tokens > 0 and total.steps_s:
            _append(info, group.label, total, 1e3 / num_tokens)
    return info


def _append(info: ComparePhasesInfo, label: str, total: RunStats, per_token: float) -> None:
    is_told = total.known("verify_s") is not None
    info.run.append(label)
    for phase in PHASE_COLOURS:
        seconds = getattr(total, f"{phase}_s")
        getattr(info, f"{phase}_ms").append(seconds * per_token if is_told else None)
    info.untold_ms.append(None if is_told else total.steps_s * per_token)


def compare_phases_figure(info: ComparePhasesInfo, theme: Theme = "light") -> go.Figure:
    """A stacked bar a run."""
    names = [figure_text(name) for name in info.run]
    figure = go.Figure()
    for phase, colour in {**PHASE_COLOURS, "untold": UNTOLD_COLOUR}.items():
        values = getattr(info, f"{phase}_ms")
        if phase == "untold" and not any(values):
            continue
        figure.add_trace(go.Bar(name=phase, x=names, y=values, marker={"color": colour}))
    figure.update_layout(barmode="stack")
    figure.update_xaxes(type="category")
    return finish_figure(
        figure,
        title="Where the time of a token goes",
        subtitle="all steps over all tokens, by phase; lower is faster",
        x_title="run",
        y_title="milliseconds a token",
        theme=theme,
        is_empty=not info.run,
    )


FIGURE = CompareFigure(8, compare_phases_info, compare_phases_figure, is_of_one=False)
