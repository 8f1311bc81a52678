"""A profile in memory: a text that no mode changes, and what a drafter proposes at its positions.

Nothing here needs a model: a profile is read from its trace, without torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, NamedTuple

from core.backends.cost_curve import CostCurve
from core.config import RunConfig
from core.drafters.tree_growth import Proposal
from core.errors import InvalidSettingError
from core.profile.costs import Costs
from core.trace.events import (
    Committed,
    Drafted,
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
    steps: dict[int, float] = {event.step: event.step_s for event in trace.of_kind(Committed)}
    for kind in (Drafted, Verified):
        for event in trace.of_kind(kind):
            steps[event.step] = steps.get(event.step, 0.0) - (event.t_end_s - event.t_start_s)
    verify_s = [event.t_end_s - event.t_start_s for event in trace.of_kind(Verified)]
    proposed = list(trace.of_kind(Proposed))
    num_chosen = sum(sum(event.level_rows) for event in proposed)
    costs = Costs(
        curve=curve,
        draft=draft,
        choosing_s=sum(event.choosing_s for event in proposed) / num_chosen if num_chosen else 0.0,
        rest_s=max(0.0, median(steps.values())) if steps else 0.0,
    )
    drafts = [event for event in proposed if event.level_rows]
    if started.in_one_pass:
        first = later = _pace(
            (event.forward_s, costs.draft_of(len(event.level_rows))) for event in drafts
        )
    else:
        first = _pace((_first_s(event), costs.draft_of(event.level_rows[0])) for event in drafts)
        later = _pace(
            (event.forward_s - _first_s(event), sum(map(costs.draft_of, event.level_rows[1:])))
            for event in drafts
        )
    pace = median(verify_s) / costs.verify(1) if verify_s else 1.0
    return replace(costs, pace=pace, first_pace=first, draft_pace=later)


def _first_s(event: Proposed) -> float:
    """Of the first level; a file that does not tell it has all levels alike."""
    return event.first_s or event.forward_s / len(event.level_rows)


def _pace(times: Iterable[tuple[float, float]]) -> float:
    """The median of measured over expected seconds; 1 where nothing was expected."""
    ratios = [measured / expected for measured, expected in times if expected > 0.0]
    return median(ratios) if ratios else 1.0
