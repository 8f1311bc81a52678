"""The data of every figure, exactly."""

import math

import pytest

from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, Node, make_trace
from visualize.figures.acceptance_by_depth import AcceptanceByDepthInfo, acceptance_by_depth_info
from visualize.figures.acceptance_lengths import AcceptanceLengthsInfo, acceptance_lengths_info
from visualize.figures.calibration import CalibrationInfo, calibration_info
from visualize.figures.compare_phases import compare_phases_info
from visualize.figures.compare_summary import CompareSummaryInfo, compare_summary_info
from visualize.figures.entropy_vs_acceptance import (
    EntropyVsAcceptanceInfo,
    entropy_vs_acceptance_info,
)
from visualize.figures.step_times import StepTimesInfo, step_times_info
from visualize.figures.style import info_frame
from visualize.figures.tokens_over_time import TokensOverTimeInfo, tokens_over_time_info
from visualize.palette import PHASE_COLOURS


def rounded(values: list[float]) -> list[float]:
    return [round(value, 6) for value in values]


def test_step_times_of_two_steps() -> None:
    info = step_times_info(make_trace(CHAIN, FORK))
    assert info.step == [1, 2]
    assert rounded(info.draft_ms) == [2.0, 2.0]
    assert rounded(info.verify_ms) == [10.0, 10.0]
    assert rounded(info.accept_ms) == [1.0, 1.0]
    assert rounded(info.commit_ms) == [1.0, 1.0]
    assert rounded(info.other_ms) == [1.0, 1.0]
    assert info.num_tokens == [3, 2]
    assert info.prefill_ms == 100.0


def test_step_times_of_runs_without_steps() -> None:
    nothing: list[float] = []
    columns = ([], nothing, nothing, nothing, nothing, nothing, [])
    assert step_times_info(Trace()) == StepTimesInfo(*columns, prefill_ms=None, untold_ms=[])
    assert step_times_info(make_trace(end="failed")) == StepTimesInfo(
        *columns, prefill_ms=100.0, untold_ms=[]
    )


def test_other_time_is_never_negative() -> None:
    info = step_times_info(make_trace(CHAIN, step_s=0.001))
    assert info.other_ms == [0.0]


def test_acceptance_by_depth_counts_forks() -> None:
    assert acceptance_by_depth_info(make_trace(CHAIN, FORK)) == AcceptanceByDepthInfo(
        depth=[1, 2, 3],
        num_drafted=[3, 2, 1],
        num_tested=[3, 1, 1],
        num_accepted=[2, 1, 0],
        acceptance_rate=[2 / 3, 1.0, 0.0],
    )


def test_a_depth_that_was_never_tested_has_no_rate() -> None:
    spec = FORK._replace(path=(), tested=(2,))
    assert acceptance_by_depth_info(make_trace(spec)) == AcceptanceByDepthInfo(
        [1, 2], [2, 1], [1, 0], [0, 0], [0.0, None]
    )


@pytest.mark.parametrize("trace", [Trace(), make_trace(PLAIN, mode="naive")])
def test_runs_without_drafts_have_no_acceptance(trace: Trace) -> None:
    assert acceptance_by_depth_info(trace) == AcceptanceByDepthInfo([], [], [], [], [])
    assert calibration_info(trace) == CalibrationInfo([], [], [], [], [], [])
    assert entropy_vs_acceptance_info(trace) == EntropyVsAcceptanceInfo([], [], [], [], [])


def test_acceptance_lengths_have_no_gaps() -> None:
    assert acceptance_lengths_info(make_trace(CHAIN, PLAIN, CHAIN)) == AcceptanceLengthsInfo(
        acceptance_length=[1, 2, 3], num_steps=[1, 0, 2], mean_length=7 / 3
    )
    assert acceptance_lengths_info(Trace()) == AcceptanceLengthsInfo([], [], None)


def test_a_plain_run_has_only_steps_of_one_token() -> None:
    trace = make_trace(PLAIN, PLAIN, mode="naive", end="stopped")
    assert acceptance_lengths_info(trace) == AcceptanceLengthsInfo([1], [2], 1.0)


def test_calibration_bins_only_tested_nodes() -> None:
    certain = PLAIN._replace(nodes=(Node(5, 0, 1.0), Node(6, 1, 0.55)), path=(1,), tested=(1,))
    assert calibration_info(make_trace(CHAIN, certain)) == CalibrationInfo(
        low=[0.1, 0.6, 0.9],
        high=[0.2, 0.7, 1.0],
        mean_draft_prob=[0.1, 0.6, 0.95],
        num_tested=[1, 1, 2],
        num_accepted=[0, 1, 2],
        acceptance_rate=[0.0, 1.0, 1.0],
    )


def test_entropy_bins_are_half_a_nat_wide() -> None:
    trace = make_trace(CHAIN, FORK._replace(entropy_nats=0.2), FORK._replace(recorded=False))
    assert entropy_vs_acceptance_info(trace) == EntropyVsAcceptanceInfo(
        low_nats=[0.0, 1.5],
        high_nats=[0.5, 2.0],
        num_tested=[2, 3],
        num_accepted=[1, 2],
        acceptance_rate=[1 / 2, 2 / 3],
    )


def test_tokens_over_time_of_a_failed_and_a_plain_run() -> None:
    traces = [make_trace(PLAIN, mode="naive"), make_trace(CHAIN, FORK, end="failed")]
    info = tokens_over_time_info(traces)
    assert info.run == ["naive"] * 2 + ["ngram"] * 3
    assert rounded(info.t_s) == [0.0, 0.114, 0.0, 0.114, 0.129]
    assert info.num_tokens == [0, 1, 0, 3, 5]
    assert tokens_over_time_info([]) == TokensOverTimeInfo([], [], [])


def test_compare_summary_takes_repeats_together() -> None:
    traces = [
        make_trace(PLAIN, mode="naive", step_s=0.020),
        make_trace(PLAIN, mode="naive", step_s=0.025),
        make_trace(CHAIN, step_s=0.020),
        make_trace(CHAIN, mode="hybrid", end="failed"),
    ]
    info = compare_summary_info(traces)
    assert info.run == ["naive", "ngram"]
    assert rounded(info.tokens_per_s) == [45.0, 150.0]
    assert rounded(info.tokens_per_s_min) == [40.0, 150.0]
    assert rounded(info.tokens_per_s_max) == [50.0, 150.0]
    assert rounded([ratio or math.nan for ratio in info.speed_up]) == [1.0, 3.333333]
    assert info.num_runs == [2, 1]


def test_the_time_of_a_token_is_that_of_all_steps_by_phase() -> None:
    traces = [make_trace(PLAIN, mode="naive"), make_trace(CHAIN), make_trace(CHAIN, end="failed")]
    info = compare_phases_info([*traces, make_trace(CHAIN)])
    assert info.run == ["naive", "ngram"]
    steps = [trace.stats for trace in traces]
    for place in (0, 1):
        phases = [getattr(info, f"{name}_ms")[place] for name in PHASE_COLOURS]
        whole_ms = 1e3 * steps[place].steps_s / steps[place].num_tokens
        assert sum(phases) == pytest.approx(whole_ms)
    assert info.draft_ms[1] == pytest.approx(1e3 * steps[1].draft_s / steps[1].num_tokens)
    assert info.untold_ms == [None, None]


def test_compare_summary_without_a_plain_run_claims_no_speed_up() -> None:
    assert compare_summary_info([make_trace(CHAIN)]).speed_up == [None]
    assert compare_summary_info([]) == CompareSummaryInfo([], [], [], [], [], [])


def test_the_data_of_a_figure_is_a_frame_of_its_lists() -> None:
    frame = info_frame(acceptance_lengths_info(make_trace(CHAIN, PLAIN)))
    assert frame.to_dict("list") == {"acceptance_length": [1, 2, 3], "num_steps": [1, 0, 1]}
    assert list(info_frame(acceptance_lengths_info(Trace())).columns) == [
        "acceptance_length",
        "num_steps",
    ]
