"""What a figure file says of itself; the catalogue finds it by that."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import plotly.graph_objects as go

from core.trace.file import Trace
from visualize.imports.records import Source
from visualize.palette import Theme

SubjectT = TypeVar("SubjectT")


class FigureKind(NamedTuple, Generic[SubjectT]):
    """A figure of a trace or of several."""

    place: int
    """Among the figures of its kind, the first one lowest."""
    info: Callable[[SubjectT], Any]
    """A NamedTuple; `style.info_frame` makes a frame of it."""
    figure: Callable[[Any, Theme], go.Figure]
    is_of_one: bool = True
    """Whether it says something of a single run."""

    def draw(self, subject: SubjectT, theme: Theme) -> go.Figure:
        return self.figure(self.info(subject), theme)


class RunFigure(FigureKind[Trace]):
    """Of one run."""


class CompareFigure(FigureKind[Sequence[Trace]]):
    """Of runs side by side."""


class SourceFigure(FigureKind[Sequence[Source]]):
    """Of files of other programs, and of traces beside them."""
