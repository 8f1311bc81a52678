"""Traces that earlier versions recorded are read by everything that reads traces."""

from pathlib import Path

import pytest

from core.trace.file import Trace, load_trace
from visualize.columns import COLUMNS
from visualize.compare import summary_frame
from visualize.exports import export_csv, read_csv
from visualize.figures.catalogue import COMPARE_FIGURES, RUN_FIGURES
from visualize.perfetto import perfetto_trace
from visualize.report.page import report_html

RECORDED = Path(__file__).parents[1] / "core" / "trace" / "traces"


@pytest.fixture(params=["version_1", "version_2", "version_3", "version_4"])
def trace(request: pytest.FixtureRequest) -> Trace:
    return load_trace(RECORDED / f"{request.param}.jsonl")


@pytest.mark.parametrize("table", COLUMNS)
def test_its_tables_are_written_and_read(trace: Trace, table: str, tmp_path: Path) -> None:
    export_csv([trace], tmp_path / "table.csv", table)
    num_rows = {
        "runs": 1,
        "steps": trace.stats.num_steps,
        "tokens": trace.stats.num_tokens,
        "nodes": trace.stats.num_drafted,
    }
    assert len(read_csv(tmp_path / "table.csv", table)) == num_rows[table]


def test_it_is_drawn_and_told(trace: Trace) -> None:
    for kind in RUN_FIGURES.values():
        assert kind.draw(trace, "dark").data
    for several in COMPARE_FIGURES.values():
        assert several.draw([trace], "dark").data
    assert summary_frame([trace])["num_steps"].tolist() == [trace.stats.num_steps]
    assert len(perfetto_trace([trace])["traceEvents"]) > trace.stats.num_steps
    assert trace.run_id in report_html(trace)
