"""How far down the tree drafts hold."""

from collections import Counter
from typing import NamedTuple

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.figures.kinds import RunFigure
from visualize.figures.style import finish_figure, share, whole_steps
from visualize.figures.tested_nodes import tested_nodes
from visualize.palette import STATUS_COLOURS, Theme
from visualize.steps import complete_steps


class AcceptanceByDepthInfo(NamedTuple):
    """A row a depth, from 1 to the deepest draft."""

    depth: list[int]
    num_drafted: list[int]
    num_tested: list[int]
    num_accepted: list[int]
    acceptance_rate: list[float | None]
    """Accepted over tested; None where none was tested."""


def acceptance_by_depth_info(trace: Trace) -> AcceptanceByDepthInfo:
    """Counts of a run by depth."""
    drafted: Counter[int] = Counter()
    for step in complete_steps(trace):
        drafted.update(step.drafted.depths[1:])
    judged = list(tested_nodes(trace))
    tested = Counter(node.depth for node in judged)
    accepted = Counter(node.depth for node in judged if node.is_accepted)
    depths = list(range(1, max(drafted, default=0) + 1))
    return AcceptanceByDepthInfo(
        depth=depths,
        num_drafted=[drafted[depth] for depth in depths],
        num_tested=[tested[depth] for depth in depths],
        num_accepted=[accepted[depth] for depth in depths],
        acceptance_rate=[share(accepted[depth], tested[depth]) for depth in depths],
    )


def acceptance_by_depth_figure(info: AcceptanceByDepthInfo, theme: Theme = "light") -> go.Figure:
    """Bars of the rate, each with its denominator."""
    figure = go.Figure(
        go.Bar(
            x=info.depth,
            y=info.acceptance_rate,
            text=[f"of {count:,}" for count in info.num_tested],
            textposition="outside",
            cliponaxis=False,
            marker={"color": STATUS_COLOURS["accepted"]},
            customdata=list(zip(info.num_accepted, info.num_drafted, strict=True)),
            hovertemplate="depth %{x}: %{customdata[0]} accepted, %{text} tested, "
            "%{customdata[1]} drafted<extra></extra>",
        )
    )
    figure.update_xaxes(dtick=whole_steps(len(info.depth)))
    figure.update_yaxes(range=[0, 1.1], tickformat=".0%")
    return finish_figure(
        figure,
        title="Acceptance by depth in the tree",
        subtitle="share of tested draft tokens that were accepted",
        x_title="depth (tokens after the root)",
        y_title="accepted / tested",
        theme=theme,
        is_empty=not info.depth,
    )


FIGURE = RunFigure(3, acceptance_by_depth_info, acceptance_by_depth_figure)
