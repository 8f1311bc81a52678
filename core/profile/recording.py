"""Makes a profile: plain decoding, and beside it a drafter that proposes at every position.

A drafter's state at a position is a function of the text before it: what it computed of tokens that
were not accepted it forgets, and what a real run would have accepted it computes anew from the same
tokens. What it learns from judged trees is left to the replay, which learns by the same code.

With one child a node all is known that any size of chain can ask for. A tree's nodes are chosen by
what was learned before, so of these more than one order is looked at, and what replays of the given
settings ask for beside is computed as they ask for it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from core.acceptance.registry import rule_of
from core.backends.cost_curve import CostCurve
from core.config import RunConfig
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.drafters.calibration import Calibration
from core.drafters.hybrid import HybridDrafter
from core.drafters.ngram import NgramDrafter
from core.drafters.text_match import TextDrafter
from core.drafters.tree_growth import (
    DraftRows,
    GrowingDrafter,
    LevelForward,
    LevelRow,
    Proposal,
    TreeGrower,
)
from core.errors import InvalidSettingError
from core.modes.ngram import NgramSettings
from core.modes.settings import MAX_TREE_NODES, DrafterSettings, TreeSettings, remembers
from core.profile.costs import Costs
from core.profile.prediction import candidates
from core.profile.profile import Path, Position, Profile
from core.profile.replay import RecordedDrafter, Replay
from core.trace.events import Drafted, Event, ProfileStarted, Proposed, RunStarted
from core.trees.tree import DraftTree

# So many times the nodes that a level of a tree expands are looked at, in the order that was learned.
_SLACK = 2


def with_costs(config: RunConfig) -> RunConfig:
    """The same run, for which costs are measured whatever its settings say of sizes."""
    settings = config.drafter
    if not isinstance(settings, (NgramSettings, TreeSettings)):
        return config
    return replace(config, drafter=replace(settings, fixed_size=False))


def check_profiled(config: RunConfig) -> None:
    """Raises InvalidSettingError for a run whose text hangs on its drafts, and for one that hangs on
    more than its own text."""
    if rule_of(config.accept, is_greedy=config.sampling.is_greedy).name != "match":
        raise InvalidSettingError(
            f"accept is {config.accept}, whose text hangs on what is drafted, and a profile is of a "
            "text that no draft changes; give match, or leave it out."
        )
    if config.stop:
        raise InvalidSettingError(
            "stop ends a text within a step, which a profile does not know; leave it out."
        )
    if config.sampling.constraint is not None:
        raise InvalidSettingError(
            "constraint drafts what it forces, which a profile does not know; leave it out."
        )
    if remembers(config.drafter):
        raise InvalidSettingError(
            "memory is on, and a profile knows no answers but its own; leave memory out."
        )


def growing_part(drafter: Drafter | None, mode: str) -> GrowingDrafter | None:
    """What of a run's drafter has proposals to record; None where the text alone tells its drafts.

    Raises InvalidSettingError for a drafter whose proposals are not known token by token.
    """
    if isinstance(drafter, HybridDrafter):
        if len(drafter.models) > 1:
            raise InvalidSettingError(
                "several models draft, and a profile records one; give draft one of them."
            )
        return growing_part(drafter.models[0], mode)
    if drafter is None or isinstance(drafter, NgramDrafter):
        return None
    if isinstance(drafter, TextDrafter):
        raise InvalidSettingError(
            "the draft model has another vocabulary and drafts text, of which a profile knows no "
            "tokens; give a draft model with the target's tokenizer."
        )
    if not isinstance(drafter, GrowingDrafter):
        raise InvalidSettingError(
            f"mode {mode} makes its trees by itself, so that a profile cannot know smaller ones; give "
            "another mode."
        )
    return drafter


class GrowthRecorder:
    """Implements `core.drafters.tree_growth.Grower`: remembers what is proposed, and grows nothing."""

    drafting_s = 0.0

    def __init__(self, grower: TreeGrower[Any]):
        self.proposals: dict[Path, Proposal] = {}
        """At the present position."""
        self.depth: int | None = None
        """How deep the drafter could have gone there; None where it was not asked."""
        self.level_s: list[float] = []
        self.choosing_s = 0.0
        self.level_rows: list[int] = []
        self._grower = grower
        self._wanted: Set[Path] = frozenset()
        self._calibration = Calibration(prob_is_chance=grower.proposer.prob_is_chance)

    def begin(self) -> None:
        """A new position."""
        self.proposals, self.depth = {}, None
        self.choosing_s = 0.0
        self.level_rows, self.level_s = [], []
        self._wanted = frozenset()

    def want(self, paths: Set[Path]) -> None:
        """The next growth is for these nodes, and for what leads to them."""
        self._wanted = {path[:count] for path in paths for count in range(len(path) + 1)}

    def grow(
        self,
        root_token_id: int,
        position: int,
        limits: DraftLimits,
        cost: CostOfRows | None,
        forward: LevelForward[Any],
    ) -> DraftTree:
        """See `Grower.grow`."""
        settings, self.depth = self._grower.settings, limits.depth
        depth = min(settings.depth, limits.depth)
        paths: list[Path] = [()]
        rows = [LevelRow(root_token_id, 0, -1)]
        first_row, most = 0, MAX_TREE_NODES // max(1, depth)
        # The choice may hang on the way to a node.
        tree, nodes = DraftTree(root_token_id), [0]
        for level in range(depth):
            start_s = time.perf_counter()
            made = forward(rows)
            # What a pass has computed for all levels is only looked up in the others.
            is_computed = level == 0 or not self._grower.in_one_pass
            computed_s = time.perf_counter() if is_computed else start_s
            at = DraftRows([position + level] * len(rows), tree, nodes)
            proposals = self._grower.proposer.propose(made, at, settings.branching)
            if not self._wanted:
                self.choosing_s += time.perf_counter() - computed_s
                self.level_rows.append(len(rows))
                if is_computed:
                    self.level_s.append(computed_s - start_s)
            self.proposals.update(zip(paths, proposals, strict=True))
            below = self._below(paths)[:most]
            if not below:
                break
            row_of = {path: first_row + index for index, path in enumerate(paths)}
            first_row += len(rows)
            rows = [LevelRow(path[-1], level + 1, row_of[path[:-1]]) for path in below]
            node_of = dict(zip(paths, nodes, strict=True))
            nodes = [tree.add(node_of[path[:-1]], path[-1], 0.0) for path in below]
            paths = below
        return DraftTree(root_token_id)

    def _below(self, paths: Sequence[Path]) -> list[Path]:
        """The nodes of the next level to compute."""
        if self._wanted:
            return [path for path in self._children(paths) if path in self._wanted]
        reach = {path: self._reach(path) for path in self._children(paths)}
        best = sorted(reach, key=lambda path: -reach[path].chance)
        chosen: dict[Path, None] = {}
        for branching in range(1, self._grower.settings.branching + 1):
            inside = [path for path in best if reach[path].largest_rank < branching]
            count = branching * _SLACK if branching > 1 else 1
            chosen.update(dict.fromkeys(inside[:count]))
        return sorted(chosen, key=lambda path: -reach[path].chance)

    def _children(self, paths: Sequence[Path]) -> Iterator[Path]:
        for path in paths:
            for token_id in self.proposals[path].token_ids:
                yield (*path, token_id)

    def _reach(self, path: Path) -> "_Reach":
        chance, largest_rank = 1.0, 0
        for depth, token_id in enumerate(path):
            proposal = self.proposals[path[:depth]]
            rank = proposal.token_ids.index(token_id)
            chance *= self._calibration.chance(proposal.probs[rank], rank)
            largest_rank = max(largest_rank, rank)
        return _Reach(chance, largest_rank)

    def learn(self, outcome: Outcome) -> None:
        """See `Grower.learn`: of one token there is nothing to learn; `learn_text` does."""

    def learn_text(self, proposals: Mapping[Path, Proposal], token_ids: Sequence[int]) -> None:
        """Learns from the proposals at a position how good they were, once the text behind is known."""
        tree, node = DraftTree(0), 0
        path: list[int] = []
        for depth in range(len(token_ids)):
            proposal = proposals.get(tuple(token_ids[:depth]))
            if proposal is None:
                break
            pairs = zip(proposal.token_ids, proposal.probs, strict=True)
            children = [tree.add(node, token_id, prob) for token_id, prob in pairs]
            kept = [child for child in children if tree.token_ids[child] == token_ids[depth]]
            if not kept:
                break
            path, node = path + kept, kept[0]
        self._calibration.learn(Outcome(tree, path, path, []))


class _Reach(NamedTuple):
    chance: float
    """That the node is accepted."""
    largest_rank: int
    """Of all nodes on the way: it is there for so many children a node and more."""


class Profiler:
    """Implements `core.drafters.base.Drafter`: drafts nothing, and records what the real one would.

    The loop that it runs in is plain decoding's.
    """

    name = "none"
    identity = None
    device_form = None

    def __init__(
        self,
        profile: Profile,
        inner: GrowingDrafter | None,
        settings: Sequence[DrafterSettings],
    ):
        """Fills `profile`; `inner` is what proposes, if anything does. Replays of `settings` are exact
        also where trees branch."""
        self.started = profile.started
        self._profile = profile
        self._inner = inner
        self._settings = settings
        self._replays: list[Replay] = []
        self._depth_limit: int | None = None
        self._is_new = False
        self._recorder: GrowthRecorder | None = None
        self._grown: RecordedDrafter | None = None
        if inner is not None:
            grower = inner.grower
            assert isinstance(grower, TreeGrower), "drafters are made with it"
            self._recorder = inner.grower = GrowthRecorder(grower)
            # Grows whole trees of what was recorded, to tell what that takes.
            whole = replace(grower.settings, fixed_size=True)
            self._grown = RecordedDrafter(profile, whole, profile.costs)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        if self._inner is not None:
            self._inner.begin(prompt_token_ids, max_length)
        self._replays = [Replay(self._profile, settings) for settings in self._settings]

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`: the root alone, whatever was proposed."""
        if self._inner is not None and self._recorder is not None:
            self._record(self._inner, self._recorder, root_token_id, limits)
            self._time_growth(self._recorder, root_token_id, limits)
        return DraftTree(root_token_id)

    def _record(
        self,
        inner: GrowingDrafter,
        recorder: GrowthRecorder,
        root_token_id: int,
        limits: DraftLimits,
    ) -> None:
        recorder.begin()
        inner.draft(root_token_id, limits, None)
        known = recorder.depth or 0
        self._depth_limit = known if known < limits.depth else None
        self._is_new = True
        here = len(self._profile.token_ids)
        self._profile.positions[here] = Position(recorder.proposals, self._depth_limit)
        for replay in self._replays:
            if replay.position < here:
                replay.step()
            if replay.position != here:  # within what it accepted
                continue
            replay.draft()
            while missing := replay.missing - recorder.proposals.keys():
                recorder.want(missing)
                inner.draft(root_token_id, limits, None)
                replay.draft()

    def _time_growth(
        self, recorder: GrowthRecorder, root_token_id: int, limits: DraftLimits
    ) -> None:
        """Choosing children also adds them to a tree, which is no smaller part of it."""
        assert self._grown is not None, "there is a recorder"
        self._grown.forget_draft()
        self._grown.draft(root_token_id, limits, None)
        num_chosen = self._grown.work.num_chosen
        if num_chosen:
            each_s = self._grown.growing_s / num_chosen
            recorder.choosing_s += each_s * sum(recorder.level_rows)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        token_ids = self._profile.token_ids
        token_ids += outcome.emitted_token_ids
        if self._inner is None or self._recorder is None:
            return
        self._inner.commit(outcome)
        assert self._grown is not None, "there is a recorder"
        self._grown.commit(outcome)
        depth = _depth_of(self._profile)
        before = self._profile.positions.get(len(token_ids) - depth)
        if before is not None:
            self._recorder.learn_text(before.proposals, token_ids[-depth:])

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`; it drafts every step itself."""
        raise AssertionError("a profile has no other drafter")

    def finish(self) -> None:
        """See `Drafter.finish`."""
        if self._inner is not None:
            self._inner.finish()

    def take(self, drafted: Drafted) -> Proposed | None:
        """What was recorded before a step's draft; None where nothing was."""
        if not self._is_new or self._recorder is None:
            return None
        self._is_new = False
        tree = _as_tree(self._recorder.proposals, drafted.token_ids[0])
        return Proposed(
            step=drafted.step,
            t_start_s=drafted.t_start_s,
            t_end_s=drafted.t_end_s,
            depth_limit=self._depth_limit,
            token_ids=tree.token_ids,
            parents=tree.parents,
            draft_probs=tree.draft_probs,
            forward_s=sum(self._recorder.level_s),
            choosing_s=self._recorder.choosing_s,
            level_rows=self._recorder.level_rows,
            level_s=self._recorder.level_s,
        )


def _depth_of(profile: Profile) -> int:
    settings = profile.config.drafter
    assert isinstance(settings, TreeSettings), "what grows trees has them"
    return settings.depth


def _as_tree(proposals: dict[Path, Proposal], root_token_id: int) -> DraftTree:
    """The nodes with what leads to them first, level by level."""
    tree = DraftTree(root_token_id)
    node_of: dict[Path, int] = {(): 0}
    for path in sorted(proposals, key=len):
        proposal = proposals[path]
        for token_id, prob in zip(proposal.token_ids, proposal.probs, strict=True):
            node_of[(*path, token_id)] = tree.add(node_of[path], token_id, prob)
    return tree


class ProfiledTarget(NamedTuple):
    """What a profile tells of the target."""

    curve: CostCurve
    """Of a verification."""
    can_branch: bool
    device_steps: bool
    """Whether a device alone does the steps of its runs."""
    context_limit: int
    end_token_ids: frozenset[int]


def make_profiler(
    config: RunConfig,
    drafter: Drafter | None,
    target: ProfiledTarget,
    prompt_token_ids: list[int],
    settings: Sequence[DrafterSettings] | None,
) -> Profiler:
    """For a checked configuration and its drafter, whose forwards were measured; raises as
    `growing_part` and `core.profile.replay.Replay` do."""
    inner = growing_part(drafter, config.mode)
    started = _profile_started(config, drafter, inner, target)
    costs = Costs(target.curve, tuple(started.draft_s), choosing_s=0.0, rest_s=0.0)
    profile = Profile(started, prompt_token_ids, costs)
    asked: list[DrafterSettings] = []
    own = profile.config.drafter
    if isinstance(own, TreeSettings) and own.branching > 1:
        asked = list(candidates(own) if settings is None else settings)
    for each in asked:
        Replay(profile, each)  # one that goes beyond the profile is refused at once
    return Profiler(profile, inner, asked)


def _profile_started(
    config: RunConfig,
    drafter: Drafter | None,
    inner: GrowingDrafter | None,
    target: ProfiledTarget,
) -> ProfileStarted:
    """What a profile tells at its start; `inner` is what of the drafter proposes."""
    draft_s: list[float] = []
    grower: TreeGrower[Any] | None = None
    if inner is not None:
        assert isinstance(inner.grower, TreeGrower), "drafters are made with it"
        assert isinstance(config.drafter, TreeSettings), "what grows trees has them"
        grower = inner.grower
        # A draft model that computes chains alone has fewer children than are asked for.
        config = replace(
            config, drafter=replace(config.drafter, branching=grower.settings.branching)
        )
        rows = range(1, max(grower.settings.branching, grower.settings.depth + 1) + 1)
        draft_s = [grower.draft_cost(count) for count in rows] if grower.draft_cost else []
    return ProfileStarted(
        step=0,
        t_start_s=0.0,
        t_end_s=0.0,
        config=config.to_dict(),
        drafter="" if inner is None else inner.name,
        draft=None if drafter is None else drafter.identity,
        prob_is_chance=grower is None or grower.proposer.prob_is_chance,
        in_one_pass=grower is not None and grower.in_one_pass,
        reads_emitted=inner is not None and inner.reads_emitted,
        can_branch=target.can_branch,
        device_steps=target.device_steps,
        context_limit=target.context_limit,
        end_token_ids=sorted(target.end_token_ids),
        forward_rows=list(target.curve.rows),
        forward_s=list(target.curve.seconds),
        draft_s=draft_s,
    )


def with_proposals(events: Iterable[Event], profiler: Profiler) -> Iterator[Event]:
    """A plain run's events, and between them what makes them a profile."""
    for event in events:
        if isinstance(event, Drafted):
            proposed = profiler.take(event)
            if proposed is not None:
                yield proposed
        yield event
        if isinstance(event, RunStarted):
            yield profiler.started
