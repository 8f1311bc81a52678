"""What the page is told of events: what became of nodes, where the time went, and why a draft was
refused, worked out once, here."""

import dataclasses

import pytest

from app.runs.wire import events_for_page
from core.trace.events import Accepted, Committed, Drafted, RunStarted, ServerTotals
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_server_trace, make_trace
from visualize.status import node_statuses
from visualize.steps import complete_steps

TRACE = make_trace(CHAIN, FORK, PLAIN)
EVENTS = TRACE.events


def test_the_end_of_a_step_tells_its_nodes_and_times() -> None:
    told = [values for values in events_for_page(EVENTS) if values["kind"] == "committed"]
    steps = complete_steps(TRACE)
    assert len(told) == len(steps) > 1
    for values, step in zip(told, steps, strict=True):
        assert values["node_states"] == node_statuses(len(step.drafted.token_ids), step.accepted)
        times = step.times
        expected = (
            times.draft_ms, times.verify_ms, times.accept_ms + times.commit_ms, times.other_ms, 0
        )  # fmt: skip
        assert tuple(values["times_ms"].values()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", [Drafted, Accepted, Committed])
def test_a_message_that_begins_within_a_step_tells_the_same(kind: type) -> None:
    first = next(index for index, event in enumerate(EVENTS) if isinstance(event, kind))
    assert list(events_for_page(EVENTS, first)) == list(events_for_page(EVENTS))[first:]


def test_the_start_brings_the_sentences_of_its_rule_and_no_prompt() -> None:
    first = next(index for index, event in enumerate(EVENTS) if isinstance(event, RunStarted))
    started = next(events_for_page(EVENTS, first))
    assert started["prompt_token_ids"] == []
    assert "{own}" in started["explanation"]["untold"]
    assert "most probable" in started["explanation"]["kept_untold"]


def test_a_step_of_a_server_has_its_whole_time_and_no_nodes() -> None:
    told = list(events_for_page(make_server_trace().events))
    times = [values["times_ms"] for values in told if values["kind"] == "committed"]
    assert [one.pop("untold") for one in times] == pytest.approx([0, 15, 15])
    assert {value for one in times for value in one.values()} == {0.0}
    assert {tuple(values["node_states"]) for values in told if "node_states" in values} == {
        ("root",)
    }


def test_totals_of_a_server_that_differ_from_its_stream_are_told() -> None:
    events = make_server_trace().events
    (same,) = [one for one in events_for_page(events) if one["kind"] == "server_totals"]
    assert same["differences"] == []
    place = next(at for at, event in enumerate(events) if isinstance(event, ServerTotals))
    changed = dataclasses.replace(events[place], seen={"num_tokens": 4})
    (told,) = list(events_for_page([changed]))
    assert told["differences"] == [{"name": "num_tokens", "told": 5, "seen": 4}]
