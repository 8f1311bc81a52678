"""Traces on disk: what is written comes back, and what is broken is named."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import TraceFormatError
from core.trace.events import (
    EVENT_CLASSES,
    Accepted,
    ProfileStarted,
    RunFinished,
    RunStarted,
    TokenTexts,
)
from core.trace.file import (
    MAX_LINE_CHARACTERS,
    VERSION,
    Trace,
    event_from_dict,
    event_line,
    header_line,
    load_trace,
    read_trace,
    save_trace,
    write_trace,
)
from tests.visualize.trace_builder import (
    CHAIN,
    FORK,
    PLAIN,
    make_profile_trace,
    make_server_trace,
    make_trace,
)

# Runs of the programs that wrote these versions.
RECORDED = Path(__file__).parent / "traces"


def lines_of(trace: Trace) -> list[str]:
    file = io.StringIO()
    write_trace(trace, file)
    return list(io.StringIO(file.getvalue()))


def changed(line: str, **values: Any) -> str:
    return json.dumps({**json.loads(line), **values}) + "\n"


def line_of(lines: list[str], kind: str) -> int:
    return next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == kind)


def test_a_saved_trace_comes_back_and_leaves_no_other_file(tmp_path: Path) -> None:
    trace = make_trace(CHAIN, FORK, PLAIN, texts={10: 'é "\U0001f600"\r\n\u2028'})
    path = tmp_path / "run.jsonl"
    save_trace(trace, path)
    assert load_trace(path) == trace
    assert list(tmp_path.iterdir()) == [path]


def test_the_trace_answers_what_readers_ask() -> None:
    trace = make_trace(CHAIN, FORK)
    assert trace.run_id == "run-1"
    assert trace.token_ids == [10, 11, 12, 21, 22]
    assert trace.text == "w10 w11 w12 w21 w22 "
    assert trace.token_texts[13] == "w13 "
    assert (Trace().run_id, Trace().text, Trace().token_ids) == ("", "", [])


def test_a_trace_that_an_editor_saved_anew_is_the_same(tmp_path: Path) -> None:
    trace = make_trace(CHAIN, texts={10: "a\u2028\x85"})
    path = tmp_path / "run.jsonl"
    save_trace(trace, path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_trace(path) == trace


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.decode().encode("utf-16"), "line 1: the file is UTF-16 text"),
        (
            lambda data: data.replace(b"w10", b"w\xe9"),
            r"line \d: it is not UTF-8 text \(byte 0xE9\)",
        ),
    ],
)
def test_a_trace_in_another_encoding_is_refused_with_its_line(
    change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    save_trace(make_trace(CHAIN), path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(TraceFormatError, match=message):
        load_trace(path)


def test_a_trace_that_was_cut_off_within_a_character_loses_that_line(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    trace = make_trace(CHAIN, texts={10: "é" * 40})
    save_trace(trace, path)
    data = path.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    cut = data[:last] + data[last:].replace(b'"', '"é'.encode(), 1)[: len('{"é') + 1]
    path.write_bytes(cut)
    assert load_trace(path).events == trace.events[:-1]


def test_a_message_that_is_no_text_does_not_stop_the_saving(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    save_trace(make_trace(PLAIN, prompt_text="file \udcff"), path)
    started = load_trace(path).first(RunStarted)
    assert started is not None
    assert started.prompt_text == "file ?"


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(TraceFormatError, match="line 1: the file is empty"):
        read_trace([])


@pytest.mark.parametrize(
    "header",
    ["{}", '{"kind":"header","format":"other","version":1}', '{"kind":"run_started"}'],
)
def test_a_file_without_our_header_is_refused(header: str) -> None:
    with pytest.raises(TraceFormatError, match="line 1: there is no specdecodes-trace header"):
        read_trace([header])


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None, True])
def test_another_version_is_refused_and_named(version: object) -> None:
    header = changed(header_line(), version=version)
    with pytest.raises(TraceFormatError, match=f"line 1: the trace has version {version!r}"):
        read_trace([header])


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_traces_that_earlier_versions_recorded_open(version: int) -> None:
    """A plain default once counted as required, so that they were refused for `batch_size`."""
    trace = load_trace(RECORDED / f"version_{version}.jsonl")
    started, finished = trace.first(RunStarted), trace.first(RunFinished)
    assert started is not None and finished is not None
    assert started.batch_size == 1
    stats = trace.stats.to_dict()
    assert {name: stats[name] for name in finished.totals} == pytest.approx(finished.totals)
    assert stats["origins"] == {}, "all of it was measured"
    assert len(trace.token_ids) == 10
    noises = [noise for event in trace.of_kind(Accepted) for noise in event.noises]
    assert len(noises) == (0 if version == 1 else trace.stats.num_tested)


def test_a_field_without_a_default_is_required_whatever_the_version() -> None:
    lines = lines_of(make_trace(CHAIN))
    number = line_of(lines, "run_started")
    values = json.loads(lines[number])
    del values["device"]
    lines[0], lines[number] = changed(lines[0], version=1), json.dumps(values) + "\n"
    with pytest.raises(TraceFormatError, match="line 2: run_started lacks 'device'"):
        read_trace(lines)


def test_noises_belong_to_the_tested_nodes() -> None:
    lines = lines_of(make_trace(CHAIN))
    number = line_of(lines, "accepted")
    lines[number] = changed(lines[number], noises=[0.5], thresholds=[])
    with pytest.raises(TraceFormatError, match=rf"line {number + 1}: accepted: lists that belong"):
        read_trace(lines)


def test_a_file_cut_in_its_last_line_keeps_all_before() -> None:
    lines = lines_of(make_trace(CHAIN))
    assert read_trace([*lines[:-1], lines[-1][:20]]).events == make_trace(CHAIN).events[:-1]


def test_a_cut_line_is_forgiven_only_at_the_end() -> None:
    """Lines without line ends once made a broken line in the middle look like the end."""
    lines = [line.rstrip("\n") for line in lines_of(make_trace(CHAIN, FORK))]
    lines[4] = lines[4][:20]
    with pytest.raises(TraceFormatError, match="line 5: it is not JSON"):
        read_trace(lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]\n", "not a JSON object"),
        ("\n", "not JSON"),
        ("[" * 100_000 + "\n", "not JSON"),
        ('{"kind":"guess"}\n', "unknown event kind 'guess'"),
        ('{"kind":[]}\n', "unknown event kind"),
        ('{"kind":"prefilled"}\n', "prefilled lacks"),
        ('{"kind":"prefilled","step":NaN}\n', "NaN is not a JSON number"),
        ('{"kind":"prefilled","step":1e999}\n', "1e999 is too large"),
        ('{"kind":"\\ud800"}\n', "not JSON"),
        (" " * (MAX_LINE_CHARACTERS + 1), "characters; at most"),
    ],
)
def test_a_line_that_is_no_event_is_named(line: str, message: str) -> None:
    with pytest.raises(TraceFormatError, match=f"line 3: .*{message}") as caught:
        read_trace([*lines_of(make_trace(PLAIN))[:2], line, "{}\n"])
    assert caught.value.line_number == 3


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("prefilled", {"step": True}, "wrong value in 'step'"),
        ("prefilled", {"num_tokens": 1.5}, "wrong value in 'num_tokens'"),
        ("prefilled", {"num_tokens": 2**63}, "wrong value in 'num_tokens'"),
        ("prefilled", {"t_start_s": 10**400}, "wrong value in 't_start_s'"),
        ("prefilled", {"extra": 1}, "unknown field 'extra'"),
        ("prefilled", {"t_start_s": 5.0, "t_end_s": 4.0}, "times are not in order"),
        ("run_started", {"draft": []}, "wrong value in 'draft'"),
        ("token_texts", {"texts": []}, "lists that belong together"),
        ("drafted", {"step": 0}, "step 0 comes after step 0"),
        ("drafted", {"parents": [-1, 0, 0, 1], "depths": [0, 1, 1, 9]}, "node 3 has a wrong depth"),
        ("drafted", {"parents": [-1, 0, 3, 0]}, "node 2 stands before its parent"),
        ("drafted", {"parents": [], "depths": []}, "no root"),
        ("drafted", {"token_ids": [1]}, "lists that belong together"),
        ("drafted", {"top_k_probs": [[], [], [0.5], []]}, "differ in number"),
        ("verified", {"step": 2}, "step 2 has no draft before it"),
        ("verified", {"entropies_nats": []}, "lists that belong together"),
        ("accepted", {"path": [9], "tested": [9]}, "not in the tree"),
        ("accepted", {"path": [3], "tested": [3]}, "no path from the root"),
        ("accepted", {"tested": []}, "was not tested"),
        ("accepted", {"next_source": "guessed"}, "wrong value in 'next_source'"),
        ("committed", {"nodes": [2, 1]}, "not the accepted path"),
        ("committed", {"texts": []}, "lists that belong together"),
        ("committed", {"step_s": -1.0}, "out of range"),
        ("run_finished", {"reason": "tired"}, "wrong value in 'reason'"),
    ],
)
def test_an_event_that_does_not_fit_is_named(
    kind: str, values: dict[str, Any], message: str
) -> None:
    lines = lines_of(make_trace(FORK))
    number = line_of(lines, kind)
    lines[number] = changed(lines[number], **values)
    with pytest.raises(TraceFormatError, match=message) as caught:
        read_trace(lines)
    assert caught.value.line_number == number + 1


def test_a_description_nested_too_deeply_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(30):
        deep = {"in": deep}
    lines = lines_of(make_trace(config=deep))
    with pytest.raises(TraceFormatError, match="nested deeper"):
        read_trace(lines)


def test_every_kind_of_event_survives_as_a_line() -> None:
    breaking = CHAIN._replace(drafter_fails=True)
    failed = make_trace(end="failed").events[-1]
    events = [
        *make_trace(breaking).events,
        *make_profile_trace().events,
        *make_server_trace().events,
        failed,
    ]
    assert {event.kind for event in events} == set(EVENT_CLASSES)
    for event in events:
        assert event_from_dict(json.loads(event_line(event)), 2) == event


def test_a_number_that_json_cannot_hold_is_refused_when_written() -> None:
    event = make_trace().events[-1]
    with pytest.raises(ValueError, match="not JSON compliant"):
        event_line(dataclasses.replace(event, t_end_s=float("nan")))


def test_names_of_tokens_are_taken_from_all_events_that_give_them() -> None:
    trace = make_trace(PLAIN, CHAIN)
    assert sum(1 for _ in trace.of_kind(TokenTexts)) == 2
    assert {3, 30, 10, 11, 12, 13} == set(trace.token_texts)


def profile_lines() -> list[str]:
    """The lines up to what is proposed in the first step."""
    lines = lines_of(make_profile_trace())
    return lines[: line_of(lines, "proposed") + 1]


def test_a_profile_is_a_trace_of_plain_decoding(tmp_path: Path) -> None:
    trace = make_profile_trace()
    save_trace(trace, tmp_path / "profile.jsonl")
    assert load_trace(tmp_path / "profile.jsonl") == trace
    assert trace.first(ProfileStarted) is not None
    assert (trace.stats.num_drafted, trace.stats.acceptance_length) == (0, 1.0)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("profile_started", {"forward_rows": [4, 4]}, "not at least two numbers in order"),
        ("profile_started", {"forward_rows": [1, 2, 3]}, r"have lengths \[2, 3\]"),
        ("profile_started", {"forward_s": [0.0, 1.0]}, "time of a forward is out of range"),
        ("profile_started", {"draft_s": [-1.0]}, "time of a forward is out of range"),
        ("proposed", {"step": 2}, "step 2 comes after step 0"),
        ("proposed", {"parents": [-1, 2, 0]}, "node 1 stands before its parent"),
        ("proposed", {"parents": [0, 0, 0]}, "the tree has no root"),
        ("proposed", {"draft_probs": [1.0]}, r"have lengths \[1, 3\]"),
        ("proposed", {"depth_limit": -1}, "its depth has a limit below nothing"),
        ("proposed", {"forward_s": -1.0}, "the time of drafting is out of range"),
        ("proposed", {"level_rows": [1, 0]}, "a level has no rows"),
        ("proposed", {"level_s": [0.1] * 9}, "more levels have a time than have rows"),
        ("proposed", {"level_s": [-0.1]}, "the time of drafting is out of range"),
    ],
)
def test_a_profile_whose_parts_do_not_fit_is_refused(
    kind: str, change: dict[str, Any], message: str
) -> None:
    lines = profile_lines()
    number = line_of(lines, kind)
    lines[number] = changed(lines[number], **change)
    with pytest.raises(TraceFormatError, match=f"line {number + 1}: {kind}: .*{message}"):
        read_trace(lines)


BRANCH = {"parent": "run-0", "forked_at": 1, "prefix_token_ids": [7, 8], "prefix_texts": ["a", "b"]}


def branch_line(**values: Any) -> list[str]:
    lines = lines_of(make_trace(CHAIN))
    started = line_of(lines, "run_started")
    lines[started] = changed(lines[started], **{**BRANCH, **values})
    return lines


def test_a_branch_tells_its_whole_answer() -> None:
    trace = read_trace(branch_line())
    assert trace.token_ids == [7, 8, 10, 11, 12]
    assert trace.text == "abw10 w11 w12 "
    assert trace.stats.num_tokens == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"forked_at": None}, "it begins as a branch and does not say where it was forked"),
        ({"parent": ""}, "it is a branch and does not say of which run"),
        ({"forked_at": 2}, "a branch is forked where no token was chosen"),
        ({"forked_at": -1}, "a branch is forked where no token was chosen"),
        ({"prefix_token_ids": [7]}, "a branch is forked where no token was chosen"),
        ({"prefix_token_ids": [7, -1]}, "it begins with what is no token"),
        ({"prefix_texts": ["a"]}, r"lists that belong together have lengths \[1, 2\]"),
        ({"server": {"kind": "vllm"}}, "an answer of a server is no branch"),
    ],
)
def test_a_branch_whose_parts_do_not_fit_together_is_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(TraceFormatError, match=f"line 2: run_started: {message}"):
        read_trace(branch_line(**values))
