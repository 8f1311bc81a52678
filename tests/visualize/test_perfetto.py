"""The rules of the trace event format, checked on everything we write."""

import json
from pathlib import Path
from typing import Any

from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_trace
from visualize.perfetto import export_perfetto, perfetto_trace


def events_of(*traces: Trace) -> list[dict[str, Any]]:
    events = perfetto_trace(traces)["traceEvents"]
    assert isinstance(events, list)
    for event in events:
        check_rules(event)
    return events


def check_rules(event: dict[str, Any]) -> None:
    """Required keys of each phase, numbers where numbers belong, and nothing negative."""
    assert event["ph"] in "XMCi"
    assert isinstance(event["name"], str)
    assert isinstance(event["pid"], int)
    if event["ph"] != "C":
        assert isinstance(event["tid"], int)
    if event["ph"] != "M":
        assert event["ts"] >= 0
    if event["ph"] == "X":
        assert event["dur"] >= 0
    if event["ph"] == "C":
        assert all(isinstance(value, (int, float)) for value in event["args"].values())
    if event["ph"] == "i":
        assert event["s"] in ("g", "p", "t")


def slices(events: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    return [(event["name"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"]


def test_phases_lie_inside_their_step_and_fill_it() -> None:
    assert slices(events_of(make_trace(FORK))) == [
        ("prefill", 0.0, 100_000.0),
        ("step 1", 100_000.0, 15_000.0),
        ("draft", 100_000.0, 2_000.0),
        ("verify", 102_000.0, 10_000.0),
        ("accept", 112_000.0, 1_000.0),
        ("commit", 113_000.0, 1_000.0),
        ("other", 114_000.0, 1_000.0),
    ]


def test_slices_of_one_row_nest_and_never_cross() -> None:
    # Thirds of a millisecond cannot be written exactly: rounding must not push a child out.
    events = events_of(make_trace(*[CHAIN] * 50, step_s=0.0140333333))
    open_ends: list[float] = []
    for _, start, duration in slices(events):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        end = round(start + duration, 3)
        assert not open_ends or end <= open_ends[-1]
        open_ends.append(end)


def test_a_step_carries_its_tokens_and_acceptance() -> None:
    step = next(event for event in events_of(make_trace(CHAIN)) if event["name"] == "step 1")
    assert step["args"] == {
        "drafter": "scripted",
        "text": "w10 w11 w12 ",
        "sources": "accepted, accepted, recovered",
        "num_drafted": 3,
        "num_tested": 3,
        "num_accepted": 2,
        "acceptance_length": 3,
        "cache_length": 6,
    }


def test_counters_follow_the_tokens() -> None:
    events = events_of(make_trace(CHAIN, FORK))
    assert [(event["name"], event["args"]["tokens"]) for event in events if event["ph"] == "C"] == [
        ("tokens emitted", 3),
        ("tokens per step", 3),
        ("tokens emitted", 5),
        ("tokens per step", 2),
    ]


def test_every_run_is_a_process_with_a_name() -> None:
    events = events_of(make_trace(PLAIN, mode="naive"), make_trace(CHAIN))
    names = [
        (event["pid"], event["name"], event["args"]["name"])
        for event in events
        if event["ph"] == "M"
    ]
    assert names == [
        (1, "process_name", "naive"),
        (1, "thread_name", "steps"),
        (2, "process_name", "ngram"),
        (2, "thread_name", "steps"),
    ]


def test_a_failure_is_an_instant_with_its_message() -> None:
    failed = events_of(make_trace(CHAIN, end="failed"))[-1]
    assert (failed["ph"], failed["name"]) == ("i", "failed")
    assert failed["args"] == {"error": "MemoryError", "message": "out of memory"}


def test_the_file_is_json_that_any_reader_takes(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    export_perfetto(make_trace(PLAIN, texts={30: '"\u2028\U0001f600\x00\ud800'}), path)
    document = json.loads(path.read_bytes())
    assert document["displayTimeUnit"] == "ms"
    export_perfetto([], path)
    assert json.loads(path.read_bytes())["traceEvents"] == []
