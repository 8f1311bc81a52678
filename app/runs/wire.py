"""Events as the page reads them: the trace's own dicts, with what the page would else work out."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.messages import PhaseTimes
from core.acceptance.registry import explanation_of
from core.trace.events import Event, Proposed, RunStarted, ServerTotals
from core.trace.file import lossy_rule_of
from core.trace.stats import differences
from visualize.status import node_statuses
from visualize.steps import SeenStep, Step, StepEvents

# A step has so many events.
_MOST_OF_A_STEP = 4


def events_for_page(events: Sequence[Event], first: int = 0) -> Iterator[dict[str, Any]]:
    """The dicts of the events from `first` on, with floats cut to what a page can show.

    The start comes without the prompt's ids, and what is proposed in a profile without its nodes. The
    start tells of its acceptance rule whether it is a lossy one, and its sentences for what it tests.
    The end of a step tells what became of its nodes, and the milliseconds of its phases.
    """
    open_step = StepEvents()
    for event in events[max(0, first - _MOST_OF_A_STEP) : first]:
        open_step.add(event)
    for event in events[first:]:
        values = {name: _short(value) for name, value in event.to_dict().items()}
        step = open_step.add(event)
        if isinstance(event, RunStarted):
            values["prompt_token_ids"] = []  # long, and the page shows none of them
            values["lossy_rule"] = lossy_rule_of(event)
            values["explanation"] = explanation_of(event.config)._asdict()
        if isinstance(event, Proposed):
            values |= {"token_ids": [], "parents": [], "draft_probs": []}
        if isinstance(event, ServerTotals):
            values["differences"] = [item._asdict() for item in differences(event)]
        if isinstance(step, Step):
            values |= _step_for_page(step)
        elif isinstance(step, SeenStep):
            values |= _seen_step_for_page(step)
        yield values


def _step_for_page(step: Step) -> dict[str, Any]:
    times = step.times
    times_ms: PhaseTimes = {
        "draft": _short(times.draft_ms),
        "verify": _short(times.verify_ms),
        "settle": _short(times.accept_ms + times.commit_ms),
        "other": _short(times.other_ms),
        "untold": 0.0,
    }
    states = node_statuses(len(step.drafted.token_ids), step.accepted)
    return {"node_states": states, "times_ms": times_ms}


def _seen_step_for_page(step: SeenStep) -> dict[str, Any]:
    """A server tells how long a step took, and nothing of its phases and its tree."""
    whole_ms = _short(step.committed.step_s * 1e3)
    times_ms: PhaseTimes = {
        "draft": 0.0,
        "verify": 0.0,
        "settle": 0.0,
        "other": 0.0,
        "untold": whole_ms,
    }
    return {"node_states": ["root"], "times_ms": times_ms}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
