"""Whether the drafter knows what it does not know."""

from typing import NamedTuple

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.figures.kinds import RunFigure
from visualize.figures.style import finish_figure, share
from visualize.figures.tested_nodes import Judged, tested_nodes
from visualize.palette import BLUE, GREY, Theme

NUM_BINS = 10


class CalibrationInfo(NamedTuple):
    """A row a bin of draft probability that has tested nodes; the last bin includes 1."""

    low: list[float]
    high: list[float]
    mean_draft_prob: list[float]
    num_tested: list[int]
    num_accepted: list[int]
    acceptance_rate: list[float | None]


def calibration_info(trace: Trace) -> CalibrationInfo:
    """Tested nodes of a run by the drafter's probability."""
    bins: list[list[Judged]] = [[] for _ in range(NUM_BINS)]
    for node in tested_nodes(trace):
        bins[min(NUM_BINS - 1, max(0, int(node.draft_prob * NUM_BINS)))].append(node)
    filled = [(index, nodes) for index, nodes in enumerate(bins) if nodes]
    accepted = [sum(node.is_accepted for node in nodes) for _, nodes in filled]
    return CalibrationInfo(
        low=[index / NUM_BINS for index, _ in filled],
        high=[(index + 1) / NUM_BINS for index, _ in filled],
        mean_draft_prob=[sum(node.draft_prob for node in own) / len(own) for _, own in filled],
        num_tested=[len(nodes) for _, nodes in filled],
        num_accepted=accepted,
        acceptance_rate=[
            share(kept, len(nodes)) for kept, (_, nodes) in zip(accepted, filled, strict=True)
        ],
    )


def calibration_figure(info: CalibrationInfo, theme: Theme = "light") -> go.Figure:
    """A point a bin against the diagonal; area by the number of tested nodes."""
    largest = max(info.num_tested, default=1)
    figure = go.Figure(
        [
            go.Scatter(
                x=[0, 1],
                y=[0, 1],
                mode="lines",
                name="says what happens",
                line={"dash": "dash", "color": GREY},
                hoverinfo="skip",
            ),
            go.Scatter(
                x=info.mean_draft_prob,
                y=info.acceptance_rate,
                mode="lines+markers",
                name="this run",
                line={"color": BLUE, "width": 1},
                marker={"size": [6 + 18 * (count / largest) ** 0.5 for count in info.num_tested]},
                text=[f"of {count:,} tested" for count in info.num_tested],
                hovertemplate="draft %{x:.2f}: %{y:.0%} %{text}<extra></extra>",
            ),
        ]
    )
    figure.update_xaxes(range=[-0.05, 1.05])
    figure.update_yaxes(range=[-0.05, 1.1], tickformat=".0%")
    return finish_figure(
        figure,
        title="Calibration of the drafter",
        subtitle="its probability against the share that was accepted",
        x_title="draft probability (mean of a bin of 0.1)",
        y_title="accepted / tested",
        theme=theme,
        is_empty=not info.low,
    )


FIGURE = RunFigure(5, calibration_info, calibration_figure)
