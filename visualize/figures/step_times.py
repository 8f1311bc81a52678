"""Where the time of each step goes, and how many tokens it bought."""

from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.trace.events import Prefilled
from core.trace.file import Trace
from visualize.figures.kinds import RunFigure
from visualize.figures.style import finish_figure, whole_steps
from visualize.palette import PHASE_COLOURS, UNTOLD_COLOUR, VERMILION, Theme
from visualize.steps import all_steps, duration_ms


class StepTimesInfo(NamedTuple):
    """A row a step; the prefill stands apart."""

    step: list[int]
    draft_ms: list[float | None]
    verify_ms: list[float | None]
    accept_ms: list[float | None]
    commit_ms: list[float | None]
    other_ms: list[float | None]
    num_tokens: list[int]
    prefill_ms: float | None
    untold_ms: list[float | None]
    """Whole steps of a server, which does not tell its phases; None where they are known."""


def step_times_info(trace: Trace) -> StepTimesInfo:
    """Times of all steps of a run."""
    steps = all_steps(trace)
    times = [step.times for step in steps]
    prefilled = trace.first(Prefilled)
    return StepTimesInfo(
        step=[step.number for step in steps],
        draft_ms=[item.draft_ms if item else None for item in times],
        verify_ms=[item.verify_ms if item else None for item in times],
        accept_ms=[item.accept_ms if item else None for item in times],
        commit_ms=[item.commit_ms if item else None for item in times],
        other_ms=[item.other_ms if item else None for item in times],
        num_tokens=[len(step.committed.token_ids) for step in steps],
        prefill_ms=duration_ms(prefilled) if prefilled else None,
        untold_ms=[None if step.times else step.committed.step_s * 1e3 for step in steps],
    )


def step_times_figure(info: StepTimesInfo, theme: Theme = "light") -> go.Figure:
    """Stacked bars a step, tokens on a second axis, the prefill on a scale of its own."""
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.06, 0.94],
        specs=[[{}, {"secondary_y": True}]],
        horizontal_spacing=0.1,
    )
    if info.prefill_ms is not None:
        bar = go.Bar(x=["prefill"], y=[info.prefill_ms], name="prefill", showlegend=False)
        figure.add_trace(bar.update(marker={"color": PHASE_COLOURS["verify"]}), row=1, col=1)
    for phase, colour in {**PHASE_COLOURS, "untold": UNTOLD_COLOUR}.items():
        values = getattr(info, f"{phase}_ms")
        if phase == "untold" and not any(values):
            continue
        bar = go.Bar(x=info.step, y=values, name=phase, marker={"color": colour})
        figure.add_trace(bar, row=1, col=2)
    tokens = go.Scatter(
        x=info.step,
        y=info.num_tokens,
        name="tokens",
        mode="markers",
        marker={
            "size": 7,
            "symbol": "diamond",
            "color": VERMILION,
            "line": {"width": 1, "color": "white"},
        },
    )
    figure.add_trace(tokens, row=1, col=2, secondary_y=True)
    figure.update_layout(barmode="stack", bargap=0, hovermode="x unified")
    figure.update_yaxes(title={"text": "time (ms)"}, row=1, col=1)
    figure.update_yaxes(title={"text": "time (ms)"}, row=1, col=2, secondary_y=False)
    figure.update_yaxes(
        title={"text": "tokens per step"},
        row=1,
        col=2,
        secondary_y=True,
        rangemode="tozero",
        tickmode="linear",
        dtick=whole_steps(max(info.num_tokens, default=1)),
        showgrid=False,
    )
    figure.update_xaxes(title={"text": "step"}, row=1, col=2)
    return finish_figure(
        figure,
        title="Time of each step by phase, and the tokens it emitted",
        subtitle="prefill apart, on a scale of its own",
        theme=theme,
        is_empty=not info.step,
    )


FIGURE = RunFigure(1, step_times_info, step_times_figure)
