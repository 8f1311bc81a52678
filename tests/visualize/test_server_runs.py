"""Answers of servers in tables, figures, exports and reports: what is unknown is empty, never zero."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidSettingError
from core.trace.stats import RunStats, stats_from_dict
from tests.visualize.trace_builder import CHAIN, make_server_trace, make_trace
from visualize.compare import first_divergence, is_plain, summary_frame
from visualize.exports import export_csv, read_csv
from visualize.figures.acceptance_lengths import acceptance_lengths_info
from visualize.figures.catalogue import COMPARE_FIGURES, RUN_FIGURES
from visualize.figures.step_times import step_times_info
from visualize.figures.tokens_over_time import tokens_over_time_info
from visualize.frames import nodes_frame, run_frame, steps_frame, tokens_frame
from visualize.perfetto import perfetto_trace
from visualize.report.page import report_data, report_html
from visualize.steps import complete_steps

TOLD, CHUNKS, PIECES = (make_server_trace(border) for border in ("counters", "chunk", "none"))


def cells(frame: Any, name: str) -> list[Any]:
    return [
        None if value is None or value != value else value for value in map(_plain, frame[name])
    ]


def _plain(value: Any) -> Any:
    return None if str(value) == "<NA>" else value


def test_a_row_a_step_has_what_the_server_tells_of_it() -> None:
    frame = steps_frame(TOLD)
    assert cells(frame, "num_drafted") == [0, 3, 0] and cells(frame, "num_accepted") == [0, 2, 0]
    assert cells(frame, "acceptance_length") == [1, 3, 1]
    assert cells(frame, "step_ms") == pytest.approx([0, 15, 15])
    for name in ("max_depth", "num_rows", "draft_ms", "verify_ms", "other_ms", "cache_length"):
        assert cells(frame, name) == [None] * 3, name
    assert cells(steps_frame(CHUNKS), "num_drafted") == [None] * 3
    pieces = steps_frame(PIECES)
    for name in ("num_emitted", "acceptance_length", "num_forwards"):
        assert cells(pieces, name) == [None] * 3, name


def test_a_row_a_token_has_no_id_where_none_is_told_and_no_node_has_a_row() -> None:
    assert cells(tokens_frame(TOLD), "token_id") == [7, 10, 11, 12, 13]
    assert cells(tokens_frame(TOLD), "source")[1:4] == ["accepted", "accepted", "recovered"]
    assert cells(tokens_frame(PIECES), "token_id") == [None] * 3
    assert len(nodes_frame(TOLD)) == 0 and complete_steps(TOLD) == []


def test_the_row_of_a_run_says_where_its_figures_come_from() -> None:
    told, chunks, pieces = (run_frame(trace).iloc[0] for trace in (TOLD, CHUNKS, PIECES))
    assert json.loads(told["server_json"])["kind"] == "other"
    assert told["num_steps"] == 3 and told["acceptance_length"] == pytest.approx(5 / 3)
    assert json.loads(told["origins_json"])["verify_s"] == "unknown"
    origins = json.loads(chunks["origins_json"])
    assert (origins["num_accepted"], origins["num_steps"]) == ("told", "at least")
    assert origins["acceptance_length"] == "at most" and chunks["num_drafted"] == 3
    # Of pieces nothing but the totals bounds the steps.
    assert pieces["num_tokens"] == 5 and pieces["num_steps"] == 3
    assert _plain(pieces["num_tested"]) is None and _plain(pieces["draft_s"]) is None
    own = run_frame(make_trace(CHAIN)).iloc[0]
    assert (own["origins_json"], own["server_json"]) == ("", "")


@pytest.mark.parametrize("trace", [TOLD, CHUNKS, PIECES], ids=["told", "chunks", "pieces"])
@pytest.mark.parametrize("table", ["runs", "steps", "tokens", "nodes"])
def test_tables_are_written_and_read_back(trace: Any, table: str, tmp_path: Path) -> None:
    export_csv(trace, tmp_path / "t.csv", table)
    rows = {"runs": 1, "steps": 3, "tokens": trace.stats.to_dict()["num_tokens"], "nodes": 0}
    if table == "tokens" and trace is PIECES:
        rows["tokens"] = 3
    assert len(read_csv(tmp_path / "t.csv", table)) == rows[table]


def test_figures_show_the_steps_and_no_phases() -> None:
    times = step_times_info(TOLD)
    assert times.untold_ms == pytest.approx([0, 15, 15]) and times.verify_ms == [None] * 3
    assert step_times_info(make_trace(CHAIN)).untold_ms == [None]
    assert acceptance_lengths_info(TOLD).num_steps == [2, 0, 1]
    assert acceptance_lengths_info(PIECES).num_steps == []
    assert tokens_over_time_info([TOLD]).num_tokens == [0, 1, 4, 5]
    for kind in RUN_FIGURES.values():
        for trace in (TOLD, CHUNKS, PIECES):
            kind.draw(trace, "light")
    for several in COMPARE_FIGURES.values():
        assert several.draw([TOLD, make_trace(CHAIN)], "dark").data


def test_report_and_timeline_show_it() -> None:
    for trace in (TOLD, CHUNKS, PIECES):
        assert trace.run_id in report_html(trace)
    data = report_data(TOLD)
    assert [len(step["tokens"]) for step in data["steps"]] == [1, 3, 1]
    assert data["stats"]["verify_s"] is None
    slices = [one for one in perfetto_trace([TOLD])["traceEvents"] if one["ph"] == "X"]
    assert [one["name"] for one in slices] == ["prefill", "step 1", "step 2", "step 3"]


def test_answers_are_compared_by_ids_or_not_at_all() -> None:
    assert first_divergence(TOLD, CHUNKS) is None
    with pytest.raises(InvalidSettingError, match="does not tell the token ids"):
        first_divergence(TOLD, PIECES)


def test_a_servers_baseline_is_one_of_its_model_that_drafts_nothing() -> None:
    def of_server(speculates: bool | None, model: str = "m", **more: Any) -> Any:
        server = {"kind": "other", "model": model, "speculates": speculates}
        return make_server_trace(server=server, run_id=f"{model} {speculates}", **more)

    fast, plain = of_server(True), of_server(False, target={"name": "http://b"})
    other = of_server(True, "n", target={"name": "http://c"})
    assert (is_plain(fast), is_plain(plain), is_plain(of_server(None))) == (False, True, False)
    gains = cells(summary_frame([fast, plain, other]), "speed_up")
    assert gains == [1.0, 1.0, None]


def test_counters_of_several_runs_are_unknown_where_one_of_them_is() -> None:
    total = RunStats()
    for trace in (make_trace(CHAIN), TOLD):
        total.merge(trace.stats)
    assert total.num_accepted == 4 and total.known("verify_s") is None
    assert total.origins["verify_s"] == "unknown" and "num_accepted" not in total.origins
    read = stats_from_dict(total.to_dict())
    assert read.to_dict() == {**total.to_dict(), "total_s": read.total_s}
