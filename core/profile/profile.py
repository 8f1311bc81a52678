"""A profile in memory: a text that no mode changes, and what a drafter proposes at its positions.

Nothing here needs a model: a profile is read from its trace, without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, NamedTuple

from core.backends.cost_curve import CostCurve
from core.config import RunConfig
from core.drafters.tree_growth import Proposal
from core.errors import InvalidSettingError
from core.profile.costs import Costs
from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    Event,
    ProfileStarted,
    Proposed,
    RunFailed,
    RunStarted,
    Verified,
)
from core.trace.file import Trace

# Token ids from the root's child down to a node; empty for the root.
Path = tuple[int, ...]


class Position(NamedTuple):
    """What the drafter proposes behind one token of the text."""

    proposals: Mapping[Path, Proposal]
    """Of every node that it was asked for; the children's."""
    depth_limit: int | None
    """See `core.trace.events.Proposed`."""


@dataclass(slots=True, eq=False)
class Profile:
    """All that a replay needs. `core.profile.recording` fills it as a run goes on."""

    started: ProfileStarted
    prompt_token_ids: list[int]
    costs: Costs
    """Of the machine where it was made."""
    token_ids: list[int] = field(default_factory=list)
    """The text, as far as it is known."""
    texts: list[str] = field(default_factory=list)
    """What each of its tokens adds; of a profile that was read."""
    positions: dict[int, Position] = field(default_factory=dict)
    """By how many tokens of the text stand before."""
    config: RunConfig = field(init=False)
    """Of the profiled mode."""
    tallies: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What its replays found; `core.profile.tally` keeps it."""
    lookups: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What lookups grew in its text; `core.profile.replay` keeps it."""

    def __post_init__(self) -> None:
        self.config = RunConfig.from_dict(self.started.config)

    @property
    def is_greedy(self) -> bool:
        return self.config.sampling.is_greedy


def profile_of(trace: Trace) -> Profile:
    """Reads a profile from its trace; raises InvalidSettingError for a trace of another kind, for a
    profile that failed, and for one of a mode that is not known here."""
    started, run = trace.first(ProfileStarted), trace.first(RunStarted)
    failed = trace.first(RunFailed)
    if started is None or run is None:
        raise InvalidSettingError(
            "the trace is not of a profile; give one that core.benchmark.profile wrote."
        )
    if failed is not None:
        raise InvalidSettingError(f"the profile failed ({failed.message}); make it anew.")
    profile = Profile(started, run.prompt_token_ids, costs_of(trace, started))
    for event in trace.events:
        if isinstance(event, Proposed):
            profile.positions[event.step - 1] = position_of(event)
        elif isinstance(event, Committed):
            profile.token_ids += event.token_ids
            profile.texts += event.texts
    return profile


def position_of(event: Proposed) -> Position:
    """The proposals of an event by their nodes' paths."""
    paths: list[Path] = [()]
    found: dict[Path, Proposal] = {}
    for node in range(1, len(event.token_ids)):
        above = paths[event.parents[node]]
        paths.append((*above, event.token_ids[node]))
        children = found.setdefault(above, Proposal([], []))
        children.token_ids.append(event.token_ids[node])
        children.probs.append(event.draft_probs[node])
    return Position(found, event.depth_limit)


def costs_of(trace: Trace, started: ProfileStarted) -> Costs:
    """What forwards and steps cost where a profile was made.

    What a step takes beside drafting and verification is that of its plain steps, and so is the pace of
    the target's forwards, which other programs on a machine change. Where a device alone does the steps
    of real runs, none of that is known, and forwards cost what their curves say.
    """
    curve = CostCurve(tuple(started.forward_rows), tuple(started.forward_s))
    draft = tuple(started.draft_s)
    if started.device_steps:
        return Costs(curve, draft, choosing_s=0.0, rest_s=0.0)
    apart = _seconds_by_step(trace, Drafted, Verified)
    rests = [event.step_s - apart.get(event.step, 0.0) for event in trace.of_kind(Committed)]
    judging = _seconds_by_step(trace, Accepted, Committed)
    verify_s = [event.t_end_s - event.t_start_s for event in trace.of_kind(Verified)]
    rest_s = max(0.0, median(rests)) if rests else 0.0
    proposed = list(trace.of_kind(Proposed))
    num_chosen = sum(sum(event.level_rows) for event in proposed)
    costs = Costs(
        curve=curve,
        draft=draft,
        choosing_s=sum(event.choosing_s for event in proposed) / num_chosen if num_chosen else 0.0,
        rest_s=rest_s,
        judging_share=min(1.0, median(judging.values()) / rest_s) if rest_s else 1.0,
    )
    drafts = [event for event in proposed if event.level_rows]
    times: dict[int, list[float]] = {}
    for event in drafts:
        rows = [len(event.level_rows)] if started.in_one_pass else event.level_rows
        # A file that does not tell it has all levels alike.
        level_s = event.level_s or [event.forward_s / len(rows)] * len(rows)
        for level, (count, seconds) in enumerate(zip(rows, level_s, strict=False)):
            if expected_s := costs.draft_of(count):
                times.setdefault(level, []).append(seconds / expected_s)
    pace = median(verify_s) / costs.verify(1) if verify_s else 1.0
    paces = tuple(median(times[level]) for level in sorted(times))
    return replace(costs, pace=pace, level_paces=paces or (1.0,))


def _seconds_by_step(trace: Trace, *kinds: type[Event]) -> dict[int, float]:
    """That all events of some kinds took."""
    found: dict[int, float] = {}
    for event in trace.events:
        if isinstance(event, kinds):
            found[event.step] = found.get(event.step, 0.0) + event.t_end_s - event.t_start_s
    return found
