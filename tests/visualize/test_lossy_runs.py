"""A run whose acceptance rule changes the output's distribution says so wherever it is shown."""

from pathlib import Path

import pytest

from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, make_trace
from visualize.columns import COLUMNS
from visualize.compare import summary_frame
from visualize.exports import export_csv, read_csv
from visualize.figures.tokens_over_time import tokens_over_time_info
from visualize.labels import run_labels
from visualize.perfetto import perfetto_trace
from visualize.report.page import report_data

LABEL = "ngram, lossy (typical)"


def run_under(rule: str, temperature: float = 0.7) -> Trace:
    sampling = {"do_sample": True, "temperature": temperature}
    return make_trace(CHAIN, config={"mode": "ngram", "accept": rule, "sampling": sampling})


def test_it_is_named_so_beside_others() -> None:
    traces = [run_under("typical"), run_under("rejection"), run_under("match")]
    assert run_labels(traces) == [LABEL, "ngram, accept rejection", "ngram, accept match"]
    assert tokens_over_time_info(traces[:1]).run[0] == LABEL
    frame = summary_frame(traces)
    assert frame["run"].tolist() == [LABEL, "ngram, accept rejection", "ngram, accept match"]
    assert frame["lossy_rule"].tolist() == ["typical", "", ""]


@pytest.mark.parametrize("table", COLUMNS)
def test_every_row_of_its_tables_says_so(table: str, tmp_path: Path) -> None:
    export_csv([run_under("typical"), run_under("match")], tmp_path / "table.csv", table)
    rules = read_csv(tmp_path / "table.csv", table)["lossy_rule"].tolist()
    assert rules == ["typical"] * (len(rules) // 2) + [""] * (len(rules) // 2)
    assert rules


def test_its_report_and_its_timeline_say_so() -> None:
    assert report_data(run_under("typical"))["run"]["lossy"] == "lossy (typical)"
    assert report_data(run_under("match"))["run"]["lossy"] == ""
    named = perfetto_trace([run_under("typical")])["traceEvents"][0]
    assert named["args"] == {"name": LABEL}


def test_a_greedy_run_is_lossless_under_every_rule() -> None:
    assert run_labels([run_under("typical", temperature=0)]) == ["ngram"]
