"""Traces of this program beside files of others: both are sources of the same tables and figures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import InvalidSettingError, TraceFormatError, shown
from core.trace.events import RunFailed
from core.trace.file import Trace, load_trace
from visualize.imports.reading import is_trace, load_import
from visualize.imports.records import Record, Source, ratio
from visualize.labels import run_labels
from visualize.run_facts import run_facts
from visualize.steps import complete_steps

TRACE = "trace"


def load_sources(paths: Sequence[Path]) -> list[Source]:
    """What files hold, each a trace or a file of another program, told apart by their content.

    Raises InvalidSettingError with the file, its line, what was got and what is allowed.
    """
    sources: list[Source] = []
    for path in paths:
        if _begins_as_trace(path):
            try:
                sources += trace_sources([load_trace(path)])
            except TraceFormatError as error:
                raise InvalidSettingError(f"{shown(path.name)}, {error}") from error
        else:
            sources += load_import(path)
    return told_apart(sources)


def _begins_as_trace(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_trace(file.read(1000))
    except OSError:
        return False  # reading it says why


def told_apart(sources: list[Source]) -> list[Source]:
    """With a number where two have one name: figures and tables know a source by it."""
    names: list[str] = []
    for source in sources:
        number, name = 1, source.name
        while name in names:
            number += 1
            name = f"{source.name} #{number}"
        names.append(name)
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def trace_sources(traces: Sequence[Trace]) -> list[Source]:
    """Traces of this program as sources, to stand beside files of others."""
    return [
        _trace_source(label, trace) for label, trace in zip(run_labels(traces), traces, strict=True)
    ]


def _trace_source(label: str, trace: Trace) -> Source:
    facts, stats = run_facts(trace), trace.stats
    # A server's steps have no trees, and what it did not tell is unknown.
    is_seen = not stats.origins
    drafted = [
        (len(step.accepted.path), len(step.drafted.token_ids) - 1)
        for step in complete_steps(trace)
        if len(step.drafted.token_ids) > 1
    ]
    is_failed = trace.first(RunFailed) is not None
    record = Record(
        name="1",
        error=facts.error if is_failed else "",
        num_prompt_tokens=facts.num_prompt_tokens,
        num_tokens=stats.num_tokens,
        num_steps=None if "num_steps" in stats.in_doubt() else stats.num_steps,
        num_drafted_steps=len(drafted) if is_seen else None,
        num_drafted=stats.known("num_drafted"),
        num_accepted=stats.known("num_accepted"),
        accepted_by_step=tuple(kept for kept, _ in drafted) if is_seen else None,
        drafted_by_step=tuple(each for _, each in drafted) if is_seen else None,
        tokens_per_s=stats.tokens_per_s,
        decode_s=ratio(stats.num_tokens, stats.tokens_per_s),
        time_to_first_token_s=facts.time_to_first_token_s,
        total_s=stats.total_s,
    )
    return Source(
        name=label,
        format=TRACE,
        model=facts.target,
        about="A run of this program: all its steps, with their trees. Rates are over drafted tokens "
        "here, tested or not.",
        records=[record],
    )
