"""Frames of hand-made traces, cell by cell."""

import math

import pandas as pd
import pytest

from core.trace.events import Committed
from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_branch, make_trace
from visualize.columns import COLUMNS
from visualize.frames import (
    nodes_frame,
    run_frame,
    steps_frame,
    table_frame,
    tokens_frame,
)


def records(frame: pd.DataFrame, *names: str) -> list[tuple[object, ...]]:
    """Rows as tuples, with None for empty cells."""
    cells = frame[list(names)].astype(object)
    return list(cells.where(cells.notna(), None).itertuples(index=False, name=None))


@pytest.mark.parametrize("table", list(COLUMNS))
def test_every_row_fills_exactly_the_documented_columns(table: str) -> None:
    whole = make_trace(CHAIN, FORK)
    branch = make_branch(whole, PLAIN, token_ids=[13], position=2)
    frame = table_frame([whole, branch], table)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: column.dtype for name, column in COLUMNS[table].items()
    }
    may_be_empty = {name for name, column in COLUMNS[table].items() if column.dtype[0].isupper()}
    assert set(frame.columns[frame.isna().any()]) <= may_be_empty
    assert not frame.isna().all().any(), "a column that no row fills is misnamed"


def test_steps_of_a_speculative_run() -> None:
    frame = steps_frame(make_trace(CHAIN, FORK))
    assert records(
        frame, "step", "drafter", "num_drafted", "num_tested", "num_accepted", "num_emitted"
    ) == [(1, "scripted", 3, 3, 2, 3), (2, "scripted", 3, 2, 1, 2)]
    assert records(frame, "acceptance_length", "max_depth", "num_rows", "cache_length") == [
        (3, 3, 4, 6),
        (2, 2, 4, 8),
    ]
    assert frame["text"].tolist() == ["w10 w11 w12 ", "w21 w22 "]


def test_times_of_a_step_add_up_to_the_step() -> None:
    phases = ["draft_ms", "verify_ms", "accept_ms", "commit_ms", "other_ms"]
    frame = steps_frame(make_trace(CHAIN, FORK))
    assert frame[phases].round(6).to_numpy().tolist() == [[2.0, 10.0, 1.0, 1.0, 1.0]] * 2
    assert frame["step_ms"].tolist() == [15.0, 15.0]
    assert frame["t_start_s"].round(6).tolist() == [0.1, 0.115]


def test_tokens_of_a_speculative_run() -> None:
    frame = tokens_frame(make_trace(CHAIN, FORK))
    assert records(
        frame, "position", "step", "token_id", "source", "depth", "node", "draft_prob"
    ) == [
        (0, 1, 10, "accepted", 1, 1, 0.9),
        (1, 1, 11, "accepted", 2, 2, 0.6),
        (2, 1, 12, "recovered", 3, -1, None),
        (3, 2, 21, "accepted", 1, 2, 0.2),
        (4, 2, 22, "bonus", 2, -1, None),
    ]
    assert frame["target_prob"].tolist() == [0.25, 0.25, 0.4, 0.25, 0.4]
    assert frame["entropy_nats"].tolist() == [1.5] * 5
    assert frame["logit_gap"].tolist() == [math.log(2)] * 5
    assert frame["t_s"].round(6).tolist() == [0.114] * 3 + [0.129] * 2


def test_each_token_is_described_by_the_distribution_it_came_from() -> None:
    trace = make_trace(FORK)
    verified = next(event for event in trace.events if event.kind == "verified")
    # Node 2 was judged after the root; the bonus token was drawn after node 2.
    object.__setattr__(verified, "entropies_nats", [0.1, 0.2, 0.3, 0.4])
    object.__setattr__(verified, "top_k_probs", [[0.5, 0.5], [1.0, 0.0], [0.9], [1.0, 0.0]])
    assert records(tokens_frame(trace), "entropy_nats", "logit_gap") == [(0.1, 0.0), (0.3, None)]
    assert nodes_frame(trace)["entropy_nats"].tolist() == [0.1, 0.1, 0.2]


def test_nodes_of_a_forked_tree() -> None:
    frame = nodes_frame(make_trace(FORK))
    assert records(frame, "node", "parent", "depth", "token_id", "text", "status") == [
        (1, 0, 1, 20, "w20 ", "rejected"),
        (2, 0, 1, 21, "w21 ", "accepted"),
        (3, 1, 2, 23, "w23 ", "untested"),
    ]
    assert frame["draft_prob"].tolist() == [0.7, 0.2, 0.5]


def test_the_run_in_one_row() -> None:
    row = run_frame(make_trace(CHAIN, FORK)).iloc[0]
    assert row["mode"] == "ngram"
    assert row["outcome"] == "length"
    assert row["num_prompt_tokens"] == 4
    assert (row["num_tokens"], row["num_steps"], row["num_drafted"]) == (5, 2, 6)
    assert (row["num_tested"], row["num_accepted"]) == (5, 3)
    assert row["acceptance_rate"] == 3 / 5
    assert row["acceptance_length"] == 5 / 2
    assert row["tokens_per_s"] == pytest.approx(5 / 0.03)
    assert row["time_to_first_token_s"] == pytest.approx(0.114)
    assert row["num_pauses"] == 1  # of two steps; the first text was waited for
    pauses = row[["pause_p50_s", "pause_p95_s", "pause_p99_s", "longest_pause_s"]].tolist()
    assert pauses == pytest.approx([0.015] * 4)
    assert (row["mean_burst"], row["largest_burst"]) == (2.5, 3)
    assert row["peak_memory_bytes"] == 1_000
    assert row["text"] == "w10 w11 w12 w21 w22 "


def test_a_plain_run_has_no_acceptance_rate() -> None:
    row = run_frame(make_trace(PLAIN, PLAIN, mode="naive")).iloc[0]
    assert pd.isna(row["acceptance_rate"])
    assert row["acceptance_length"] == 1.0
    assert (row["num_pauses"], row["largest_burst"]) == (1, 1)
    assert nodes_frame(make_trace(PLAIN)).empty


def test_a_failed_run_keeps_its_steps_and_names_its_error() -> None:
    trace = make_trace(CHAIN, end="failed")
    row = run_frame(trace).iloc[0]
    assert row["outcome"] == "failed"
    assert row["error"] == "MemoryError: out of memory"
    assert pd.isna(row["peak_memory_bytes"])
    assert len(steps_frame(trace)) == 1


def test_without_recording_the_targets_numbers_are_empty() -> None:
    trace = make_trace(CHAIN._replace(recorded=False))
    names = ["target_prob", "entropy_nats", "logit_gap"]
    assert tokens_frame(trace)[names].isna().all(axis=None)
    assert tokens_frame(trace)["draft_prob"].notna().tolist() == [True, True, False]
    assert nodes_frame(trace)[["target_prob", "entropy_nats"]].isna().all(axis=None)


def test_a_step_that_was_cut_off_is_left_out() -> None:
    trace = make_trace(CHAIN, FORK, end=None)
    cut = Trace(trace.events[:-1])
    assert isinstance(trace.events[-1], Committed)
    assert steps_frame(cut)["step"].tolist() == [1]


def test_a_header_alone_gives_one_row_of_zeros() -> None:
    row = run_frame(Trace()).iloc[0]
    assert (row["run_id"], row["num_tokens"], row["outcome"]) == ("", 0, "")


def test_runs_stand_one_after_the_other() -> None:
    traces = [make_trace(CHAIN), make_trace(PLAIN, mode="naive", run_id="run-2")]
    assert records(table_frame(traces, "steps"), "run_id", "mode", "step") == [
        ("run-1", "ngram", 1),
        ("run-2", "naive", 1),
    ]


def test_tested_nodes_have_their_noise_and_threshold() -> None:
    nodes = nodes_frame(make_trace(FORK))
    by_node = {row.node: row for row in nodes.itertuples()}
    first, second = FORK.tested[:2]
    assert (by_node[first].noise, by_node[first].threshold) == (0.25, 0.75)
    assert pd.isna(by_node[second].noise) and by_node[second].threshold == 2.0
    untested = set(by_node) - set(FORK.tested)
    assert untested and all(pd.isna(by_node[node].threshold) for node in untested)
