"""All figures by name, so that page and report need not list them."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.figures.acceptance_by_depth import (
    acceptance_by_depth_figure,
    acceptance_by_depth_info,
)
from visualize.figures.acceptance_lengths import acceptance_lengths_figure, acceptance_lengths_info
from visualize.figures.calibration import calibration_figure, calibration_info
from visualize.figures.compare_summary import compare_summary_figure, compare_summary_info
from visualize.figures.entropy_vs_acceptance import (
    entropy_vs_acceptance_figure,
    entropy_vs_acceptance_info,
)
from visualize.figures.step_times import step_times_figure, step_times_info
from visualize.figures.tokens_over_time import tokens_over_time_figure, tokens_over_time_info
from visualize.palette import Theme

SubjectT = TypeVar("SubjectT")


class FigureKind(NamedTuple, Generic[SubjectT]):
    """A figure of a trace or of several."""

    info: Callable[[SubjectT], Any]
    """A NamedTuple; `style.info_frame` makes a frame of it."""
    figure: Callable[[Any, Theme], go.Figure]

    def draw(self, subject: SubjectT, theme: Theme) -> go.Figure:
        return self.figure(self.info(subject), theme)


RUN_FIGURES: Final[dict[str, FigureKind[Trace]]] = {
    "step_times": FigureKind(step_times_info, step_times_figure),
    "acceptance_by_depth": FigureKind(acceptance_by_depth_info, acceptance_by_depth_figure),
    "acceptance_lengths": FigureKind(acceptance_lengths_info, acceptance_lengths_figure),
    "calibration": FigureKind(calibration_info, calibration_figure),
    "entropy_vs_acceptance": FigureKind(entropy_vs_acceptance_info, entropy_vs_acceptance_figure),
}
COMPARE_FIGURES: Final[dict[str, FigureKind[Sequence[Trace]]]] = {
    "tokens_over_time": FigureKind(tokens_over_time_info, tokens_over_time_figure),
    "compare_summary": FigureKind(compare_summary_info, compare_summary_figure),
}
