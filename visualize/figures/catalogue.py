"""All figures by name, so that page and report need not list them: each is a file beside this one."""

import importlib
import pkgutil
from typing import Final, TypeVar

import visualize.figures
from visualize.figures.kinds import CompareFigure, RunFigure, SourceFigure

KindT = TypeVar("KindT", RunFigure, CompareFigure, SourceFigure)


def _figures(kind: type[KindT]) -> dict[str, KindT]:
    """The `FIGURE` of each file that has one of this kind, in their order."""
    found: dict[str, KindT] = {}
    for file in pkgutil.iter_modules(visualize.figures.__path__):
        if file.name != "catalogue":
            module = importlib.import_module(f"{visualize.figures.__name__}.{file.name}")
            figure = vars(module).get("FIGURE")
            if isinstance(figure, kind):
                found[file.name] = figure
    return _in_order(found)


def _in_order(found: dict[str, KindT]) -> dict[str, KindT]:
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def _of_one(kind: CompareFigure) -> RunFigure:
    return RunFigure(kind.place, lambda trace: kind.info([trace]), kind.figure)


RUN_FIGURES: Final = _figures(RunFigure)
COMPARE_FIGURES: Final = _figures(CompareFigure)
SOURCE_FIGURES: Final = _figures(SourceFigure)
ONE_RUN_FIGURES: Final = _in_order(
    RUN_FIGURES | {name: _of_one(kind) for name, kind in COMPARE_FIGURES.items() if kind.is_of_one}
)
"""All that there is to draw of a single run."""
