"""Every figure renders for every kind of run, in both themes, and says what it shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

import visualize.figures
from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_trace
from visualize.figures.catalogue import (
    COMPARE_FIGURES,
    ONE_RUN_FIGURES,
    RUN_FIGURES,
    SOURCE_FIGURES,
)
from visualize.figures.style import TEMPLATES
from visualize.palette import Theme

RUNS = {
    "speculative": make_trace(CHAIN, FORK),
    "plain": make_trace(PLAIN, mode="naive"),
    "failed": make_trace(CHAIN, end="failed"),
    "stopped": make_trace(CHAIN, end="stopped"),
    "unrecorded": make_trace(CHAIN._replace(recorded=False)),
    "header alone": Trace(),
}
FILES = Path(visualize.figures.__path__[0])
SINGLE = [figure.draw for figure in RUN_FIGURES.values()]
SEVERAL = [figure.draw for figure in COMPARE_FIGURES.values()]


def check(figure: go.Figure) -> None:
    values: dict[str, Any] = json.loads(figure.to_json())
    assert values["layout"]["title"]["text"]
    bars_and_lines = [item for item in values["data"] if "x" in item]
    axes = [name for name in values["layout"] if name.startswith(("xaxis", "yaxis"))]
    assert bars_and_lines == [] or axes
    titles = [values["layout"][name].get("title", {}).get("text", "") for name in axes]
    assert any(titles), "axes name what they show"


def test_every_file_that_draws_is_in_the_catalogue_once() -> None:
    drawing = {
        path.stem for path in FILES.glob("*.py") if f"def {path.stem}_figure" in path.read_text()
    }
    of_predictions = {"setting_map", "drafter_curves"}
    kinds = (RUN_FIGURES, COMPARE_FIGURES, SOURCE_FIGURES)
    assert set().union(*kinds) | of_predictions == drawing
    assert sum(map(len, kinds)) == len(set().union(*kinds))
    assert list(ONE_RUN_FIGURES)[:2] == ["step_times", "tokens_over_time"]
    assert "compare_summary" not in ONE_RUN_FIGURES


@pytest.mark.parametrize("theme", list(TEMPLATES))
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("draw", SINGLE)
def test_a_figure_of_one_run_renders(
    draw: Callable[[Trace, Theme], go.Figure], run: str, theme: Theme
) -> None:
    check(draw(RUNS[run], theme))


@pytest.mark.parametrize("draw", SEVERAL)
def test_a_figure_of_several_runs_renders(
    draw: Callable[[list[Trace], Theme], go.Figure],
) -> None:
    check(draw(list(RUNS.values()), "dark"))
    check(draw([], "light"))


def test_an_empty_figure_says_so() -> None:
    figure = RUN_FIGURES["calibration"].draw(Trace(), "light")
    assert "nothing to show" in figure.layout.annotations[0].text


def test_names_of_runs_are_shown_as_text() -> None:
    trace = make_trace(PLAIN, mode="<b>bold</b>&amp;")
    figure = COMPARE_FIGURES["tokens_over_time"].draw([trace], "light")
    assert figure.data[0].name == "&lt;b&gt;bold&lt;/b&gt;&amp;amp;"
