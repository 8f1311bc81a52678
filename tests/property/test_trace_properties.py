"""Traces survive the disk; broken ones are named; what is read never breaks a reader."""

import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import TraceFormatError
from core.trace.file import Trace, read_trace
from tests.visualize.strategies import mutated_traces, traces, written
from visualize.columns import COLUMNS
from visualize.compare import first_divergence, summary_frame
from visualize.exports import export_csv, read_csv
from visualize.figures.catalogue import COMPARE_FIGURES, RUN_FIGURES
from visualize.figures.style import info_frame
from visualize.frames import table_frame
from visualize.perfetto import perfetto_trace


def read(text: str) -> Trace:
    return read_trace(io.StringIO(text))


@given(trace=traces())
def test_a_trace_survives_the_round_trip(trace: Trace) -> None:
    text = written(trace)
    assert read(text) == trace
    assert written(read(text)) == text


@given(trace=traces(), data=st.data())
def test_a_broken_line_at_any_place_is_named(trace: Trace, data: st.DataObject) -> None:
    lines = list(io.StringIO(written(trace)))  # splitlines would also cut at U+0085 in a text
    number = data.draw(st.integers(1, len(lines)))
    line = lines[number - 1]
    cut = data.draw(st.integers(0, len(line) - 2))
    lines[number - 1] = line[:cut] + "\n"
    with pytest.raises(TraceFormatError) as caught:
        read("".join(lines))
    assert caught.value.line_number == number
    assert str(caught.value).startswith(f"line {number}: ")


@given(trace=traces(), data=st.data())
def test_a_file_cut_anywhere_behind_its_header_keeps_the_whole_lines(
    trace: Trace, data: st.DataObject
) -> None:
    text = written(trace)
    header_end = text.index("\n") + 1
    cut = data.draw(st.integers(header_end, len(text)))
    kept = read(text[:cut]).events
    num_whole = text[:cut].count("\n") - 1
    # A line that lacks nothing but its line end is whole as well.
    assert kept == trace.events[: len(kept)]
    assert len(kept) in (num_whole, num_whole + 1)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(text=mutated_traces())
def test_a_mutated_trace_is_refused_or_serves_every_reader(text: str) -> None:
    try:
        trace = read(text)
    except TraceFormatError:
        return
    assert read(written(trace)) == trace
    use_everywhere(trace)


@settings(max_examples=50, deadline=None)
@given(trace=traces())
def test_every_reader_takes_every_trace(trace: Trace) -> None:
    use_everywhere(trace)


def use_everywhere(trace: Trace) -> None:
    tables = {table: table_frame([trace], table) for table in COLUMNS}
    assert tables["tokens"]["token_id"].tolist() == trace.token_ids[: len(tables["tokens"])]
    json.dumps(perfetto_trace([trace]), allow_nan=False)
    assert first_divergence(trace, trace) is None
    assert len(summary_frame([trace])) == 1
    for kind in RUN_FIGURES.values():
        info_frame(kind.info(trace))
    for several in COMPARE_FIGURES.values():
        info_frame(several.info([trace, trace]))


@settings(max_examples=30, deadline=None)
@given(several=st.lists(traces(), max_size=2), table=st.sampled_from(list(COLUMNS)))
def test_tables_survive_csv(
    several: list[Trace], table: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    export_csv(several, path, table)
    frame = table_frame(several, table)
    again = read_csv(path, table)
    assert again.dtypes.equals(frame.dtypes)
    assert again.equals(frame)


@given(trace=traces())
def test_stats_add_up(trace: Trace) -> None:
    stats = trace.stats
    steps = table_frame([trace], "steps")
    assert stats.num_tokens == len(trace.token_ids) == steps["acceptance_length"].sum()
    assert stats.num_accepted <= stats.num_tested <= stats.num_drafted
    assert stats.num_drafted == len(table_frame([trace], "nodes"))
    statuses = table_frame([trace], "nodes")["status"].value_counts()
    assert statuses.get("accepted", 0) == stats.num_accepted
    assert statuses.get("rejected", 0) == stats.num_tested - stats.num_accepted
