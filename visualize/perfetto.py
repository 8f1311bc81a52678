"""Runs in the trace event format of Chrome, for ui.perfetto.dev and chrome://tracing.

A run is a process, its steps are slices with their phases nested inside, and counters show the
tokens. Times go in as microseconds; whole nanoseconds keep nested slices inside their parents.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.trace.events import Event, Prefilled, RunFailed
from core.trace.file import Trace
from visualize.labels import run_labels
from visualize.run_facts import run_facts
from visualize.steps import AnyStep, Step, all_steps

TraceEvent = dict[str, Any]

_THREAD = 1


def export_perfetto(traces: Trace | Sequence[Trace], path: Path) -> None:
    """Writes one run or several as one JSON file."""
    several = [traces] if isinstance(traces, Trace) else list(traces)
    path.write_text(json.dumps(perfetto_trace(several), allow_nan=False), encoding="utf-8")


def perfetto_trace(traces: Sequence[Trace]) -> dict[str, Any]:
    """The whole document; every run begins at time zero."""
    events = [
        event
        for process, (label, trace) in enumerate(zip(run_labels(traces), traces, strict=True), 1)
        for event in _run_events(trace, label, process)
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _run_events(trace: Trace, label: str, process: int) -> Iterator[TraceEvent]:
    place = {"pid": process, "tid": _THREAD}
    yield {"ph": "M", "name": "process_name", **place, "args": {"name": label}}
    yield {"ph": "M", "name": "thread_name", **place, "args": {"name": "steps"}}
    facts = run_facts(trace)
    for prefilled in trace.of_kind(Prefilled):
        args = {"num_tokens": prefilled.num_tokens, "num_reused": prefilled.num_reused}
        yield _slice("prefill", *_span_ns(prefilled), {**args, "prompt": facts.prompt_text}, place)
    num_tokens = 0
    for step in all_steps(trace):
        yield from _step_slices(step, place)
        num_tokens += len(step.committed.token_ids)
        yield from _counters(step, num_tokens, process)
    for failed in trace.of_kind(RunFailed):
        yield {
            "ph": "i",
            "name": "failed",
            "ts": _span_ns(failed)[0] / 1e3,
            "s": "p",
            **place,
            "args": {"error": failed.error, "message": failed.message},
        }


def _step_slices(step: AnyStep, place: TraceEvent) -> Iterator[TraceEvent]:
    if not isinstance(step, Step):
        start_ns, end_ns = _span_ns(step.observed)
        yield _slice(f"step {step.number}", start_ns, end_ns, _step_args(step), place)
        return
    start_ns, _ = _span_ns(step.drafted)
    phases = {
        "draft": step.drafted,
        "verify": step.verified,
        "accept": step.accepted,
        "commit": step.committed,
    }
    step_end_ns = start_ns + _ns(step.committed.step_s)
    end_ns = max(step_end_ns, *(_span_ns(event)[1] for event in phases.values()))
    yield _slice(f"step {step.number}", start_ns, end_ns, _step_args(step), place)
    for name, event in phases.items():
        yield _slice(name, *_span_ns(event), {}, place)
    after_ns = _span_ns(step.committed)[1]
    if end_ns > after_ns:
        yield _slice("other", after_ns, end_ns, {}, place)


def _step_args(step: AnyStep) -> dict[str, Any]:
    return {
        "drafter": step.drafter,
        "text": "".join(step.committed.texts),
        "sources": ", ".join(step.committed.sources),
        "num_drafted": step.num_drafted,
        "num_tested": step.num_tested,
        "num_accepted": step.num_accepted,
        "acceptance_length": len(step.committed.token_ids),
        "cache_length": step.committed.cache_length,
    }


def _counters(step: AnyStep, num_tokens: int, process: int) -> Iterator[TraceEvent]:
    when = {"ph": "C", "pid": process, "ts": _span_ns(step.committed)[1] / 1e3}
    yield {**when, "name": "tokens emitted", "args": {"tokens": num_tokens}}
    yield {**when, "name": "tokens per step", "args": {"tokens": len(step.committed.token_ids)}}


def _slice(
    name: str, start_ns: int, end_ns: int, args: dict[str, Any], place: TraceEvent
) -> TraceEvent:
    times = {"ts": start_ns / 1e3, "dur": (end_ns - start_ns) / 1e3}
    return {"ph": "X", "name": name, "cat": "specdecodes", **times, **place, "args": args}


def _span_ns(event: Event) -> tuple[int, int]:
    start_ns = _ns(event.t_start_s)
    return start_ns, max(start_ns, _ns(event.t_end_s))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
