"""Counters of a run add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.trace.stats import RunStats, collect_stats
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_trace


def test_counts_and_times_of_a_run() -> None:
    stats = make_trace(CHAIN, FORK).stats
    assert (stats.num_tokens, stats.num_steps) == (5, 2)
    assert (stats.num_drafted, stats.num_tested, stats.num_accepted) == (6, 5, 3)
    assert stats.prefill_s == 0.1
    assert stats.draft_s == pytest.approx(0.004)
    assert stats.verify_s == pytest.approx(0.020)
    assert stats.accept_s == pytest.approx(0.002)
    assert stats.commit_s == pytest.approx(0.002)
    assert stats.other_s == pytest.approx(0.002)
    assert stats.steps_s == pytest.approx(0.030)
    assert stats.total_s == pytest.approx(0.130)
    assert stats.acceptance_rate == 3 / 5
    assert stats.acceptance_length == 5 / 2
    assert stats.tokens_per_s == pytest.approx(5 / 0.030)


def test_ratios_of_nothing_are_none() -> None:
    stats = RunStats()
    assert stats.acceptance_rate is None
    assert stats.acceptance_length is None
    assert stats.tokens_per_s is None
    assert stats.total_s == 0.0


def test_plain_decoding_tests_nothing_and_has_tau_one() -> None:
    stats = make_trace(PLAIN, PLAIN).stats
    assert stats.acceptance_rate is None
    assert stats.acceptance_length == 1.0


def test_the_dict_holds_all_counters_and_ratios() -> None:
    values = make_trace(CHAIN).stats.to_dict()
    assert values["num_tokens"] == 3
    assert values["acceptance_rate"] == 2 / 3
    assert values["acceptance_length"] == 3.0
    assert {"draft_s", "verify_s", "accept_s", "commit_s", "other_s", "total_s"} <= set(values)


@given(specs=st.lists(st.sampled_from([CHAIN, FORK, PLAIN]), max_size=20))
def test_acceptance_lengths_add_up_to_the_tokens_emitted(specs: list[object]) -> None:
    trace = make_trace(*specs)  # type: ignore[arg-type]
    stats = collect_stats(trace.events)
    lengths = [{id(CHAIN): 3, id(FORK): 2, id(PLAIN): 1}[id(spec)] for spec in specs]
    assert stats.num_tokens == sum(lengths) == len(trace.token_ids)
    assert stats.num_tokens == stats.num_accepted + stats.num_steps
    assert stats.num_accepted <= stats.num_tested <= stats.num_drafted
