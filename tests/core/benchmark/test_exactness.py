"""The first difference to plain decoding, and its logit gap."""

import math

import pytest

from core.benchmark.exactness import first_divergence
from core.trace.file import Trace
from tests.core.benchmark.scripted_runner import VOCAB_SIZE, plain_trace
from tests.scripted import ScriptedBackend, run_loop

PLAIN = [3, 7, 2, 9]


def test_equal_answers_have_no_divergence() -> None:
    assert first_divergence(plain_trace(PLAIN), PLAIN) is None


def test_the_first_difference_counts_and_not_a_later_one() -> None:
    found = first_divergence(plain_trace(PLAIN), [3, 8, 2, 1])
    assert found is not None
    assert (found.position, found.plain_token_id, found.token_id) == (1, 7, 8)


def test_an_answer_that_ends_sooner_differs_where_it_ends() -> None:
    found = first_divergence(plain_trace(PLAIN), PLAIN[:3])
    assert found == (3, 9, None, None, False)


def test_an_answer_that_goes_on_differs_where_plain_decoding_ended() -> None:
    found = first_divergence(plain_trace(PLAIN), [*PLAIN, 5])
    assert found == (4, None, 5, None, False)


def ranked_trace(trace_top_k: int) -> Trace:
    """One token of a target whose logits are 0, -1, -2, ... over the ids."""
    backend = ScriptedBackend(
        lambda prefix: [-float(token_id) for token_id in range(VOCAB_SIZE)], VOCAB_SIZE
    )
    return Trace(run_loop(backend, None, [5], max_new_tokens=1, trace_top_k=trace_top_k)[0])


def test_the_gap_is_the_difference_of_the_two_logits() -> None:
    found = first_divergence(ranked_trace(5), [2])
    assert found is not None and found.logit_gap is not None
    assert math.isclose(found.logit_gap, 2.0, rel_tol=1e-5)
    assert not found.is_lower_bound


def test_a_token_beyond_the_recorded_ones_bounds_the_gap_from_below() -> None:
    found = first_divergence(ranked_trace(5), [11])
    assert found is not None and found.logit_gap is not None
    assert found.logit_gap == pytest.approx(4.0, rel=1e-5)
    assert found.is_lower_bound


def test_without_recording_there_is_no_gap() -> None:
    found = first_divergence(ranked_trace(0), [11])
    assert found is not None and found.logit_gap is None
