"""Pauses between what reaches the reader, on hand-made arrivals and against numpy."""

import itertools

import numpy as np
import pytest

from core.trace.events import Committed, RunFinished
from core.trace.pauses import Pauses, collect_pauses, percentile


def committed(at_s: float, *texts: str) -> Committed:
    return Committed(
        step=1,
        t_start_s=at_s,
        t_end_s=at_s,
        token_ids=[1] * len(texts),
        texts=list(texts),
        sources=["accepted"] * len(texts),
        nodes=[1] * len(texts),
        cache_length=1,
        step_s=0.0,
    )


def finished(at_s: float, tail: str) -> RunFinished:
    return RunFinished(
        step=9, t_start_s=at_s, t_end_s=at_s, reason="length", tail_text=tail, totals={},
        peak_memory_bytes=0,
    )  # fmt: skip


def test_tokens_of_a_step_arrive_together_and_the_first_wait_is_no_pause() -> None:
    pauses = collect_pauses([committed(3.0, "a", "b"), committed(3.1, "c"), committed(3.5, "d")])
    assert pauses.first_s == 3.0
    assert pauses.pauses_s == pytest.approx([0.1, 0.4])
    assert pauses.bursts == [2, 1, 1]
    facts = pauses.facts
    assert (facts.longest_pause_s, facts.largest_burst) == (pytest.approx(0.4), 2)
    assert facts.mean_burst == pytest.approx(4 / 3)


def test_a_step_without_text_reaches_nobody_and_its_tokens_come_with_the_next_one() -> None:
    events = [committed(1.0, "a"), committed(2.0, ""), committed(4.0, "", "é"), finished(5.0, "x")]
    pauses = collect_pauses(events)
    assert pauses.pauses_s == [1.0, 3.0]
    assert pauses.bursts == [1, 3]
    held = collect_pauses([committed(1.0, "a"), committed(2.0, ""), finished(5.0, "tail")])
    assert (held.pauses_s, held.bursts) == ([4.0], [1, 1])


def test_nothing_and_one_text_have_no_pauses() -> None:
    for events in ([], [committed(1.0, "a")]):
        facts = collect_pauses(events).facts
        assert facts[:5] == (0, None, None, None, None)
    assert collect_pauses([]).facts[5:] == (None, None)


def test_answers_are_added_without_the_time_between_them() -> None:
    first = collect_pauses([committed(1.0, "a"), committed(3.0, "b")])
    first.merge(collect_pauses([committed(50.0, "a"), committed(51.0, "b", "c")]))
    assert (first.pauses_s, first.bursts) == ([1.0, 2.0], [1, 1, 1, 2])


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
def test_percentiles_are_numpy_s(count: int) -> None:
    random = np.random.default_rng(count)
    arrivals = np.cumsum(random.exponential(size=count + 1))
    pauses = Pauses()
    for at_s in arrivals:
        pauses.arrive(float(at_s), 1)
    expected = [after - before for before, after in itertools.pairwise(arrivals)]
    for share in (0.5, 0.95, 0.99):
        wanted = np.percentile(expected, 100 * share)
        assert percentile(pauses.pauses_s, share) == pytest.approx(wanted)
