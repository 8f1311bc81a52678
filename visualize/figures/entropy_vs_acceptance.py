"""Whether drafts fail where the target itself is unsure."""

from typing import NamedTuple

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.figures.kinds import RunFigure
from visualize.figures.style import finish_figure, share
from visualize.figures.tested_nodes import tested_nodes
from visualize.palette import PURPLE, Theme

BIN_NATS = 0.5


class EntropyVsAcceptanceInfo(NamedTuple):
    """A row a bin of the target's entropy that has tested nodes."""

    low_nats: list[float]
    high_nats: list[float]
    num_tested: list[int]
    num_accepted: list[int]
    acceptance_rate: list[float | None]


def entropy_vs_acceptance_info(trace: Trace) -> EntropyVsAcceptanceInfo:
    """Tested nodes of a run by the entropy of the distribution that judged them."""
    tested: dict[int, int] = {}
    accepted: dict[int, int] = {}
    for node in tested_nodes(trace):
        if node.entropy_nats is not None:
            index = int(node.entropy_nats / BIN_NATS)
            tested[index] = tested.get(index, 0) + 1
            accepted[index] = accepted.get(index, 0) + node.is_accepted
    bins = sorted(tested)
    return EntropyVsAcceptanceInfo(
        low_nats=[index * BIN_NATS for index in bins],
        high_nats=[(index + 1) * BIN_NATS for index in bins],
        num_tested=[tested[index] for index in bins],
        num_accepted=[accepted[index] for index in bins],
        acceptance_rate=[share(accepted[index], tested[index]) for index in bins],
    )


def entropy_vs_acceptance_figure(
    info: EntropyVsAcceptanceInfo, theme: Theme = "light"
) -> go.Figure:
    """Bars of the rate, each with its denominator."""
    figure = go.Figure(
        go.Bar(
            x=[low + BIN_NATS / 2 for low in info.low_nats],
            y=info.acceptance_rate,
            width=BIN_NATS * 0.92,
            text=[f"of {count:,}" for count in info.num_tested],
            textposition="outside",
            cliponaxis=False,
            marker={"color": PURPLE},
        )
    )
    figure.update_yaxes(range=[0, 1.1], tickformat=".0%")
    return finish_figure(
        figure,
        title="Acceptance by the target's own uncertainty",
        subtitle="share of tested draft tokens that were accepted",
        x_title="entropy of the target's next-token distribution (nats)",
        y_title="accepted / tested",
        theme=theme,
        is_empty=not info.low_nats,
    )


FIGURE = RunFigure(6, entropy_vs_acceptance_info, entropy_vs_acceptance_figure)
