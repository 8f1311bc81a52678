"""Whether the events of a trace from elsewhere fit together, so that readers can rely on it."""

from itertools import pairwise
from typing import Any

from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    Event,
    Observed,
    ProfileStarted,
    Proposed,
    RunStarted,
    ServerTotals,
    TokenTexts,
    Verified,
)

MAX_DEPTH = 20
MAX_TIME_S = 1e9


class TraceChecker:
    """Takes the events of a trace in order; knows the tree of the current step."""

    def __init__(self) -> None:
        self._step = 0
        self._parents: list[int] = []
        self._path: list[int] = []
        self._observed: Observed | None = None

    def problem(self, event: Event) -> str | None:
        """What is wrong with the next event; None where nothing is."""
        if not 0 <= event.t_start_s <= event.t_end_s <= MAX_TIME_S:
            return "its times are not in order"
        match event:
            case RunStarted():
                return _start_problem(event)
            case ServerTotals():
                return _description_problem(event.told, event.seen) or _totals_problem(event)
            case ProfileStarted():
                return _profile_problem(event)
            case TokenTexts():
                return _same_length(event.token_ids, event.texts)
            case Proposed():
                return self._proposed_problem(event)
            case Drafted():
                return self._drafted_problem(event)
            case Observed():
                return self._observed_problem(event)
            case Verified() | Accepted() | Committed():
                if event.step != self._step:
                    return f"step {event.step} has no draft before it"
                return self._outcome_problem(event)
        return None

    def _drafted_problem(self, event: Drafted) -> str | None:
        if event.step <= self._step:
            return f"step {event.step} comes after step {self._step}"
        self._step, self._parents, self._path = event.step, event.parents, []
        self._observed = None
        if event.parents[:1] != [-1] or event.depths[:1] != [0]:
            return "the tree has no root"
        unequal = _same_length(
            event.parents,
            event.token_ids,
            event.depths,
            event.draft_probs,
            event.top_k_token_ids,
            event.top_k_probs,
        )
        if unequal is not None:
            return unequal
        for node in range(1, len(event.parents)):
            parent = event.parents[node]
            if not 0 <= parent < node:
                return f"node {node} stands before its parent"
            if event.depths[node] != event.depths[parent] + 1:
                return f"node {node} has a wrong depth"
        return _same_lengths(event.top_k_token_ids, event.top_k_probs)

    def _observed_problem(self, event: Observed) -> str | None:
        if event.step <= self._step:
            return f"step {event.step} comes after step {self._step}"
        self._step, self._parents, self._path, self._observed = event.step, [], [], event
        numbers = event.num_tokens, event.num_drafted, event.num_tested, event.num_accepted
        if event.num_steps < 1 or min((one for one in numbers if one is not None), default=0) < 0:
            return "its numbers are out of range"
        drafted, accepted = event.num_drafted, event.num_accepted
        if drafted is not None and accepted is not None and accepted > drafted:
            return "more tokens were accepted than drafted"
        if event.target_probs and len(event.target_probs) != event.num_tokens:
            return "its probabilities are not those of its tokens"
        return None

    def _proposed_problem(self, event: Proposed) -> str | None:
        if event.step != self._step + 1:
            return f"step {event.step} comes after step {self._step}"
        if event.depth_limit is not None and event.depth_limit < 0:
            return "its depth has a limit below nothing"
        times = (event.forward_s, event.choosing_s, *event.level_s)
        if len(event.level_s) > len(event.level_rows):
            return "more levels have a time than have rows"
        if not all(0 <= seconds <= MAX_TIME_S for seconds in times):
            return "the time of drafting is out of range"
        if min(event.level_rows, default=1) < 1:
            return "a level has no rows"
        if event.parents[:1] != [-1]:
            return "the tree has no root"
        for node in range(1, len(event.parents)):
            if not 0 <= event.parents[node] < node:
                return f"node {node} stands before its parent"
        return _same_length(event.parents, event.token_ids, event.draft_probs)

    def _outcome_problem(self, event: Verified | Accepted | Committed) -> str | None:
        match event:
            case Verified() | Accepted() if self._observed is not None:
                return f"step {event.step} of a server has no tree"
            case Verified():
                recorded = (
                    event.target_probs,
                    event.top_k_token_ids,
                    event.top_k_probs,
                    event.entropies_nats,
                )
                if not any(recorded):
                    return None
                return _same_length(self._parents, *recorded) or _same_lengths(
                    event.top_k_token_ids, event.top_k_probs
                )
            case Accepted():
                return self._path_problem(event)
            case Committed():
                if not 0 <= event.step_s <= MAX_TIME_S:
                    return "the time of the step is out of range"
                if self._observed is not None:
                    return _observed_commit_problem(self._observed, event)
                if event.nodes != [*self._path, -1][: len(event.nodes)]:
                    return "its nodes are not the accepted path"
                return _same_length(event.token_ids, event.texts, event.sources, event.nodes)

    def _path_problem(self, event: Accepted) -> str | None:
        if not all(self._is_drafted(node) for node in (*event.path, *event.tested)):
            return "a judged node is not in the tree"
        if not set(event.path) <= set(event.tested):
            return "an accepted node was not tested"
        for parent, node in zip([0, *event.path], event.path, strict=False):
            if self._parents[node] != parent:
                return "the accepted nodes are no path from the root"
        self._path = event.path
        if not event.noises and not event.thresholds:
            return None
        return _same_length(event.tested, event.noises, event.thresholds)

    def _is_drafted(self, node: int) -> bool:
        return 0 < node < len(self._parents)


def _start_problem(event: RunStarted) -> str | None:
    parts = event.config, event.target, event.draft, event.server
    return _description_problem(*parts) or _branch_problem(event)


def _branch_problem(event: RunStarted) -> str | None:
    if event.forked_at is None:
        is_whole = not (event.parent or event.prefix_token_ids or event.prefix_texts)
        return None if is_whole else "it begins as a branch and does not say where it was forked"
    if event.server is not None:
        return "an answer of a server is no branch"
    if not event.parent:
        return "it is a branch and does not say of which run"
    if not 0 <= event.forked_at < len(event.prefix_token_ids):
        return "a branch is forked where no token was chosen"
    if min(event.prefix_token_ids) < 0:
        return "it begins with what is no token"
    return _same_length(event.prefix_token_ids, event.prefix_texts)


def _observed_commit_problem(observed: Observed, event: Committed) -> str | None:
    if any(node != -1 for node in event.nodes):
        return "its nodes are in no tree"
    count = 1 if observed.num_tokens is None else observed.num_tokens
    if len(event.token_ids) != count:
        return f"it has {len(event.token_ids)} tokens and {count} were observed"
    return _same_length(event.token_ids, event.texts, event.sources, event.nodes)


def _totals_problem(event: ServerTotals) -> str | None:
    for values in (event.told, event.seen):
        for name, value in values.items():
            parts = value if name == "accepted_histogram" and isinstance(value, list) else [value]
            if not all(type(part) in (int, float) and 0 <= part <= MAX_TIME_S for part in parts):
                return f"{name} is no number in range"
    return None


def _profile_problem(event: ProfileStarted) -> str | None:
    rows, times = event.forward_rows, [*event.forward_s, *event.draft_s]
    if len(rows) < 2 or rows[0] < 1 or any(low >= high for low, high in pairwise(rows)):
        return "the rows of forwards are not at least two numbers in order"
    if not all(0 < seconds <= MAX_TIME_S for seconds in times):
        return "the time of a forward is out of range"
    return _same_length(rows, event.forward_s) or _description_problem(event.config, event.draft)


def _description_problem(*values: Any) -> str | None:
    if any(map(_is_too_deep, values)):
        return f"a description is nested deeper than {MAX_DEPTH} levels"
    return None


def _same_length(*lists: list[Any]) -> str | None:
    lengths = sorted({len(values) for values in lists})
    return None if len(lengths) == 1 else f"lists that belong together have lengths {lengths}"


def _same_lengths(left: list[list[int]], right: list[list[float]]) -> str | None:
    if all(len(one) == len(other) for one, other in zip(left, right, strict=True)):
        return None
    return "best tokens and their probabilities differ in number"


def _is_too_deep(value: Any, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return True
    if isinstance(value, dict):
        return any(_is_too_deep(part, depth + 1) for part in value.values())
    return isinstance(value, list) and any(_is_too_deep(part, depth + 1) for part in value)
