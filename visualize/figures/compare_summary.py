"""What each mode gained over plain decoding."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.compare import summary_frame
from visualize.figures.kinds import CompareFigure
from visualize.figures.spread_bar import spread_bar
from visualize.figures.style import finish_figure
from visualize.palette import Theme


class CompareSummaryInfo(NamedTuple):
    """A row a run with its repeats: median speed, its spread, and the gain over plain decoding."""

    run: list[str]
    tokens_per_s: list[float]
    tokens_per_s_min: list[float]
    tokens_per_s_max: list[float]
    speed_up: list[float | None]
    num_runs: list[int]


def compare_summary_info(traces: Sequence[Trace]) -> CompareSummaryInfo:
    """Speeds of the runs that emitted anything."""
    frame = summary_frame(traces)
    frame = frame[frame["tokens_per_s"].notna()]
    speed_up = frame["speed_up"].astype(object)
    return CompareSummaryInfo(
        run=frame["run"].tolist(),
        tokens_per_s=frame["tokens_per_s"].tolist(),
        tokens_per_s_min=frame["tokens_per_s_min"].tolist(),
        tokens_per_s_max=frame["tokens_per_s_max"].tolist(),
        speed_up=speed_up.where(speed_up.notna(), None).tolist(),
        num_runs=frame["num_runs"].tolist(),
    )


def compare_summary_figure(info: CompareSummaryInfo, theme: Theme = "light") -> go.Figure:
    """A bar a run with the spread of its repeats; the speed-up is written in it."""
    bar = spread_bar(
        info.run,
        info.tokens_per_s,
        info.tokens_per_s_min,
        info.tokens_per_s_max,
        [_gain(info, place) for place in range(len(info.run))],
    )
    figure = go.Figure(bar)
    figure.update_xaxes(type="category")
    return finish_figure(
        figure,
        title="Speed of each run",
        subtitle="in the bars: how many times plain decoding; least and most of repeats",
        x_title="run",
        y_title="tokens per second (median)",
        theme=theme,
        is_empty=not info.run,
    )


def _gain(info: CompareSummaryInfo, place: int) -> str:
    """Times plain decoding's median, and the same for the slowest and the fastest repeat."""
    gain, speed = info.speed_up[place], info.tokens_per_s[place]
    if gain is None:
        return ""
    least, most = (
        gain * bound / speed
        for bound in (info.tokens_per_s_min[place], info.tokens_per_s_max[place])
    )
    return f"{gain:.2f}x" if least == most else f"{gain:.2f}x<br>{least:.2f}-{most:.2f}"


FIGURE = CompareFigure(7, compare_summary_info, compare_summary_figure, is_of_one=False)
