"""Runs again, without a model, what a profile tells: the steps of a run under other settings.

The loop below is that of `core.decoding.loop` with a text in the place of the target: under the match
rule a draft token is kept when it is the text's own. Who decides about trees is the very code of real
runs: the lookup, the growth of trees with what it learns, the choice between the two.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from typing import NamedTuple

from core.acceptance.base import Judgement, judge_greedily
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome, limits_of
from core.drafters.hybrid import HybridDrafter, lookup_settings
from core.drafters.ngram import HitRates, NgramDrafter
from core.drafters.pace import StepCost
from core.drafters.tree_growth import DraftRows, LevelRow, Proposal, TreeGrower
from core.errors import InvalidSettingError
from core.modes.hybrid import HybridSettings
from core.modes.ngram import NgramSettings
from core.modes.settings import DrafterSettings, TreeSettings, as_chains
from core.profile.acceptance_scale import AS_MEASURED, AcceptanceScale, ScaledAnswers, broken
from core.profile.costs import Costs, Work
from core.profile.profile import Path, Position, Profile
from core.trees.tree import DraftTree

# Settings that a replay may choose; all others are those of the profile.
FREE_SETTINGS = ("depth", "branching", "min_match", "num_nodes", "fixed_size")
# Where the text is not known yet.
_UNKNOWN = -1
# Settings and scales of a profile whose lookups are kept: a slider moves one of the scales.
_MOST_LOOKUPS = 32


class ReplayedStep(NamedTuple):
    """A step as a real run has it, and what it has to do."""

    position: int
    """Tokens of the text before it."""
    drafter: str
    """Who drafted; see `core.trace.events.Drafted`."""
    tree: DraftTree
    judgement: Judgement
    num_emitted: int
    work: Work
    """Of drafting."""


class Replay:
    """One run, step by step."""

    def __init__(
        self,
        profile: Profile,
        settings: DrafterSettings | None,
        costs: Costs | None = None,
        max_new_tokens: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
        scale: AcceptanceScale = AS_MEASURED,
    ):
        """`settings` are the drafter's, None for plain decoding; `costs` are the profile's unless
        others are given, and so is the number of tokens. What the lookup takes is what it takes now,
        by the clock. Under another `scale` the drafter is right more or less often.

        Raises InvalidSettingError for settings that go beyond the profile.
        """
        self.position = 0
        self._profile = profile
        self._costs = costs or profile.costs
        whole = profile.config.max_new_tokens
        self._max_new_tokens = max_new_tokens or whole
        if self._max_new_tokens > whole:
            raise InvalidSettingError(
                f"max_new_tokens is {max_new_tokens} and the profile has {whole}; give at most so "
                "many."
            )
        if settings is not None:
            settings = _checked(profile, settings)
        self._recorded: RecordedDrafter | None = None
        self._lookup: _TimedLookup | None = None
        self._answers: ScaledAnswers | None = None
        if scale.factor != 1.0:
            self._answers = ScaledAnswers(scale, profile.prompt_token_ids)
        self._drafter = self._make_drafter(settings, clock, scale)
        is_sized = not getattr(settings, "fixed_size", False)
        # The curve at the pace that it has here, which a run learns as it goes on.
        self._cost = StepCost(cache(self._costs.verify)) if is_sized else None
        self._tree = DraftTree(_UNKNOWN)
        if self._drafter is not None:
            self._drafter.begin(profile.prompt_token_ids.copy(), 0)

    def _make_drafter(
        self,
        settings: DrafterSettings | None,
        clock: Callable[[], float],
        scale: AcceptanceScale,
    ) -> Drafter | None:
        profile = self._profile
        if settings is None:
            return None
        lookup = settings
        if not isinstance(settings, NgramSettings):
            assert isinstance(settings, TreeSettings), "a profile has no others"
            self._recorded = RecordedDrafter(profile, settings, self._costs, self._answers)
            if not isinstance(settings, HybridSettings):
                return self._recorded
            lookup = lookup_settings(settings, can_branch=profile.started.can_branch)
        assert isinstance(lookup, NgramSettings)
        grown = _grown_before(profile, lookup, self._max_new_tokens, scale)
        self._lookup = _TimedLookup(lookup, profile, clock, self._answers, grown)
        if self._recorded is None:
            return self._lookup
        return HybridDrafter(self._lookup, [self._recorded])

    @property
    def num_missing(self) -> int:
        """Nodes that the run would have had computed and the profile lacks: where there are none, the
        steps are a real run's."""
        return 0 if self._recorded is None else self._recorded.num_missing

    @property
    def missing(self) -> set[Path]:
        """Those of the last draft."""
        return set() if self._recorded is None else self._recorded.missing

    @property
    def has_ended(self) -> bool:
        """Whether all tokens are emitted."""
        return self.position >= self._max_new_tokens or self._has_met_the_end

    @property
    def _has_met_the_end(self) -> bool:
        """Whether the text emitted so far is one that a run ends at, however many tokens it may have."""
        profile, started = self._profile, self._profile.started
        if self.position + len(profile.prompt_token_ids) >= started.context_limit:
            return True
        return self.position > 0 and profile.token_ids[self.position - 1] in started.end_token_ids

    def draft(self) -> DraftTree:
        """The tree of the next step; asking again gives it again."""
        profile = self._profile
        length = len(profile.prompt_token_ids) + self.position
        root = (
            profile.token_ids[self.position - 1] if self.position else profile.prompt_token_ids[-1]
        )
        remaining = min(
            self._max_new_tokens - self.position, profile.started.context_limit - length
        )
        limits = limits_of(remaining)
        self._tree = DraftTree(root)
        if self._recorded is not None:
            self._recorded.forget_draft()
        if limits.depth > 0 and self._drafter is not None:
            self._tree = self._drafter.draft(root, limits, self._cost)
        return self._tree

    def step(self) -> ReplayedStep | None:
        """Judges the draft and goes on; None where the text is not known so far."""
        profile, position, tree = self._profile, self.position, self._tree
        known = profile.token_ids
        own = [
            known[position + depth] if position + depth < len(known) else _UNKNOWN
            for depth in tree.depths
        ]
        judgement = judge_greedily(tree, own, frozenset(profile.started.end_token_ids))
        if judgement.next_token_id == _UNKNOWN:
            return None
        emitted = [tree.token_ids[node] for node in judgement.path]
        if judgement.next_token_id is not None:
            emitted.append(judgement.next_token_id)
        drafter, work = "none", Work()
        if self._drafter is not None:
            drafter = self._drafter.name
            self._drafter.commit(Outcome(tree, judgement.path, judgement.tested, emitted))
            work = self._work()
        self.position += len(emitted)
        if self._cost is not None:
            costs = self._costs
            judging_s = costs.judging_share * costs.rest_s
            self._cost.learn(len(tree), costs.verification(len(tree)), judging_s)
        return ReplayedStep(
            position=position,
            drafter=drafter,
            tree=tree,
            judgement=judgement,
            num_emitted=len(emitted),
            work=work,
        )

    def _work(self) -> Work:
        """What drafting took in this step."""
        work = Work() if self._recorded is None else self._recorded.work
        if self._lookup is None:
            return work
        return work._replace(lookup_s=self._lookup.take_spent_s())

    def steps(self) -> Iterator[ReplayedStep]:
        """All steps, up to the end of what is known."""
        while not self.has_ended:
            self.draft()
            step = self.step()
            if step is None:
                return
            yield step


def _checked(profile: Profile, settings: DrafterSettings) -> DrafterSettings:
    """The settings as the profile's target completes them; raises InvalidSettingError."""
    most = profile.config.drafter
    if type(settings) is not type(most):
        raise InvalidSettingError(
            f"the settings are of another mode than the profile's, {profile.config.mode}; give its own."
        )
    for item in dataclasses.fields(settings):
        asked, known = getattr(settings, item.name), getattr(most, item.name)
        if item.name not in FREE_SETTINGS and asked != known:
            raise InvalidSettingError(
                f"{item.name} is {asked} and the profile was made with {known}; make one with "
                f"{item.name} {asked}."
            )
        is_bounded = isinstance(settings, TreeSettings) and item.name in ("depth", "branching")
        if is_bounded and asked > known:
            raise InvalidSettingError(
                f"{item.name} is {asked} and the profile looked as far as {known}; give at most so "
                f"many, or make one with {item.name} {asked}."
            )
    return settings if profile.started.can_branch else as_chains(settings)


class _ScaledHitRates(HitRates):
    """Learns how good contexts are of answers that are right more or less often."""

    def __init__(self, share: float, answers: ScaledAnswers):
        super().__init__(share)
        self.position = 0
        """Of the token that the next answer is about."""
        self._answers = answers

    def learn(self, length: int, hit: bool) -> None:
        super().learn(length, self._answers.is_right(self.position, hit))


class _Grown(NamedTuple):
    """What the lookup grows at a place of the text before its size is chosen, and the time of it."""

    tree: DraftTree
    seconds: float


def _grown_before(
    profile: Profile, lookup: NgramSettings, max_new_tokens: int, scale: AcceptanceScale
) -> dict[int, _Grown]:
    """By position, what other replays found: whatever was drafted before, a place has one context. So
    what costs decide, the sizes, is all that differs."""
    key = lookup, max_new_tokens, scale
    found = profile.lookups.get(key)
    if found is None:
        if len(profile.lookups) >= _MOST_LOOKUPS:
            profile.lookups.pop(next(iter(profile.lookups)), None)  # the oldest
        found = profile.lookups[key] = {}
    return found


class _TimedLookup(NgramDrafter):
    """The lookup, and how long it takes: it is run again and not told of."""

    def __init__(
        self,
        settings: NgramSettings,
        profile: Profile,
        clock: Callable[[], float],
        answers: ScaledAnswers | None,
        grown: dict[int, _Grown],
    ):
        super().__init__(settings, is_greedy=profile.is_greedy)
        self._spent_s = 0.0
        self._text = profile.token_ids
        self._clock = clock
        self._answers = answers
        self._grown = grown
        self._position = 0

    def take_spent_s(self) -> float:
        """Since the last time."""
        spent_s, self._spent_s = self._spent_s, 0.0
        return spent_s

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        super().begin(prompt_token_ids, max_length)
        if self._answers is not None:
            self._hit_rates = _ScaledHitRates(self._share, self._answers)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        start_s = self._clock()
        tree = super().draft(root_token_id, limits, cost)
        self._spent_s += self._clock() - start_s
        return tree if self._answers is None else self._scaled(tree, self._answers)

    def _grow(self, root_token_id: int, num_nodes: int, depth: int, min_reach: float) -> DraftTree:
        found = self._grown.get(self._position)
        if found is None:
            start_s = self._clock()
            tree = super()._grow(root_token_id, num_nodes, depth, min_reach)
            found = self._grown[self._position] = _Grown(tree, self._clock() - start_s)
        else:
            self._spent_s += found.seconds
        return found.tree

    def _scaled(self, tree: DraftTree, answers: ScaledAnswers) -> DraftTree:
        """Breaks and mends on the way that is kept; behind a mended token the draft stays as it is."""
        tree = copy(tree)
        tree.token_ids = tree.token_ids.copy()  # what was grown stays as it is for others
        node: int | None = 0
        position = self._position
        while node is not None and position < len(self._text):
            children = tree.children[node]
            drafted = [tree.token_ids[child] for child in children]
            scaled = answers.scaled(drafted, self._text[position], position)
            for child, token_id in zip(children, scaled, strict=True):
                tree.token_ids[child] = token_id
            kept = [child for child in children if tree.token_ids[child] == self._text[position]]
            node = kept[0] if kept else None
            position += 1
        return tree

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`."""
        start_s = self._clock()
        for token_id in token_ids:
            if isinstance(self._hit_rates, _ScaledHitRates):
                self._hit_rates.position = self._position
            super().follow([token_id])
            self._position += 1
        self._spent_s += self._clock() - start_s


class RecordedDrafter:
    """Implements `core.drafters.base.ModelDrafter` by a profile: grows trees of what was proposed."""

    identity = None
    device_form = None

    def __init__(
        self,
        profile: Profile,
        settings: TreeSettings,
        costs: Costs,
        answers: ScaledAnswers | None = None,
    ):
        """`answers` are there where it is right more or less often than the profile's."""
        self.name = profile.started.drafter
        self.missing: set[Path] = set()
        """Nodes that the last draft asked for and the profile lacks."""
        self.num_missing = 0
        """Of all drafts."""
        self.work = Work()
        """Of the last draft."""
        self.growing_s = 0.0
        """What growing the last draft took here, beside telling what was recorded."""
        self._profile = profile
        self._settings = settings
        self._costs = costs
        self._answers = answers
        self._position = 0
        self._num_unread = 1
        self._now_s = 0.0
        self._growth: TreeGrower[list[Proposal]] = TreeGrower(
            settings,
            _RecordedChooser(profile.started.prob_is_chance, self._choose),
            None if settings.fixed_size else costs.draft_of,
            in_one_pass=profile.started.in_one_pass,
            clock=lambda: self._now_s,
        )

    @property
    def drafting_s(self) -> float:
        return self._growth.drafting_s

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""

    def forget_draft(self) -> None:
        """Before a step: nothing is drafted and nothing done."""
        self.missing, self.work = set(), Work()

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        position = self._profile.positions.get(self._position)
        if position is None or position.depth_limit == 0:
            return DraftTree(root_token_id)
        if position.depth_limit is not None:
            limits = limits._replace(depth=min(limits.depth, position.depth_limit))
        depth = min(self._settings.depth, limits.depth)
        paths: list[Path] = []
        told_s = 0.0

        def level(rows: list[LevelRow]) -> list[Proposal]:
            nonlocal told_s
            start_s = time.perf_counter()
            self._compute(len(rows), is_first=not paths, depth=depth)
            paths.extend(_path_below(paths, row) for row in rows)
            found = [self._recorded(position, path) for path in paths[-len(rows) :]]
            told_s += time.perf_counter() - start_s
            return found

        start_s = time.perf_counter()
        tree = self._growth.grow(root_token_id, self._position, limits, cost, level)
        self.growing_s = time.perf_counter() - start_s - told_s
        return tree

    def _recorded(self, position: Position, path: Path) -> Proposal:
        found = position.proposals.get(path)
        if self._answers is not None:
            found = self._scaled(self._answers, path)
        if found is None:
            self.missing.add(path)
            return Proposal([], [])
        return found

    def _scaled(self, answers: ScaledAnswers, path: Path) -> Proposal | None:
        """What a drafter that is right more or less often proposes behind a path.

        Below a broken token it proposes what it did; behind one that was mended, what it does where it
        is asked anew there, for it has no other proposals behind a token that it did not propose.
        """
        text = self._profile.token_ids[self._position : self._position + len(path) + 1]
        num_right = 0
        while path[num_right:] and path[num_right] == text[num_right]:
            num_right += 1
        measured = tuple(broken(token_id) if token_id < 0 else token_id for token_id in path)
        found = None
        for start in range(num_right + 1 if answers.mends else 1):
            place = self._profile.positions.get(self._position + start)
            found = None if place is None else place.proposals.get(measured[start:])
            if found is not None:
                break
        if found is None or num_right < len(path) or len(text) <= len(path):
            return found
        children = answers.scaled(found.token_ids, text[-1], self._position + len(path))
        return Proposal(children, found.probs)

    def _compute(self, num_rows: int, *, is_first: bool, depth: int) -> None:
        """Counts the forward of a level, also where sizes are fixed and nobody asks what it takes."""
        started, work = self._profile.started, self.work
        rows = num_rows
        if is_first:
            rows = num_rows + self._num_unread - 1 if started.reads_emitted else num_rows
            rows = depth if started.in_one_pass else rows
            self._num_unread = 0
        elif started.in_one_pass:
            return
        self._now_s += self._costs.draft_at(len(work.level_rows), rows)
        self.work = work._replace(level_rows=(*work.level_rows, rows))

    def _choose(self, num_rows: int) -> None:
        """Counts choosing the children of so many rows."""
        self._now_s += self._costs.choosing_s * num_rows
        self.work = self.work._replace(num_chosen=self.work.num_chosen + num_rows)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self._growth.learn(outcome)
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`."""
        self.num_missing += len(self.missing)
        self._position += len(token_ids)
        self._num_unread += len(token_ids)

    def finish(self) -> None:
        """See `Drafter.finish`."""


def _path_below(paths: list[Path], row: LevelRow) -> Path:
    return () if row.parent_row < 0 else (*paths[row.parent_row], row.token_id)


class _RecordedChooser:
    """Implements `core.drafters.tree_growth.Chooser` over recorded proposals."""

    def __init__(self, prob_is_chance: bool, chosen: Callable[[int], None]):
        """`chosen` is told of how many rows children were chosen."""
        self.prob_is_chance = prob_is_chance
        self._chosen = chosen

    def propose(self, level: list[Proposal], rows: DraftRows, count: int, /) -> list[Proposal]:
        """See `Chooser.propose`: fewer of the best are the best of more."""
        self._chosen(len(level))
        return [Proposal(found.token_ids[:count], found.probs[:count]) for found in level]
