"""Steps that the device does alone for all sequences at one graph runner, of which there may be one.

The host starts a step and reads what came of it, once. Where the kind of a step does not hang on what
comes of the one before it, it is started before that is read, so that the device does not wait for
the host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from core.acceptance.device import Entry
from core.backends.cuda.graphs import Mark, Marks
from core.backends.logits import bad_logits
from core.config import RunConfig
from core.decoding.device.graph_runner import GraphRunner, StepKind
from core.decoding.device.readout import StepNumbers
from core.decoding.step import Clock, DraftFailure, StepTimes
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.growth_choice import GrowthChoice
from core.drafters.tree_growth_device import GrowthShape
from core.trace.failures import describe_failure
from core.trees.tensors import bucket
from core.trees.tree import DraftTree

if TYPE_CHECKING:
    from core.decoding.device.stepper import DeviceStepper

# Each number of sequences has graphs of its own.
LANES = (1, 2, 4, 8, 16, 32, 64)
# Of so many sequences a step is learned from, in turn: that takes the host's time.
_MOST_LEARNED = 8


def lanes_for(count: int) -> int:
    """The smallest number of sequences that a step has and that is enough."""
    return next(size for size in LANES if size >= count)


class Asked(NamedTuple):
    """What a sequence wants of its next step."""

    root_token_id: int
    limits: DraftLimits


class Part(NamedTuple):
    """What a step did for one sequence."""

    kind: StepKind
    given: DraftTree | None
    """The tree, where the host made it."""
    drafter: str
    numbers: StepNumbers
    times: StepTimes
    """By the clock of the steps."""
    failure: DraftFailure | None
    """Of the drafter, before it."""


class _Plan(NamedTuple):
    kind: StepKind
    trees: list[DraftTree | None] | None
    """Of each sequence the one that the host made, where it made any."""
    drafters: list[str]


class _Launched(NamedTuple):
    members: list[DeviceStepper]
    plan: _Plan
    marks: list[Mark]
    is_usual: bool
    """Whether all of it ran as it always will."""
    fetched: torch.Tensor
    """Where its results come, once the last mark is reached."""
    failure: DraftFailure | None


@dataclass(slots=True)
class _Done:
    """Read, and not learned from yet."""

    kind: StepKind
    times: StepTimes
    is_usual: bool
    outcomes: list[tuple[Outcome, list[float]]] = field(default_factory=list)
    """With the reach that each draft had."""


class SharedSteps:
    """The sequences at one graph runner, and the steps that they take together."""

    def __init__(
        self,
        graph_runner: GraphRunner,
        growths: GrowthChoice | None,
        config: RunConfig,
        clock: Clock,
    ):
        """`growths` chooses trees that the device grows; drafters whose trees the host makes give them
        themselves. The sequences have these settings, but for what only a loop reads."""
        self.graph_runner = graph_runner
        self.clock = clock
        self.num_seats = 0
        """Sequences that are there, also those that have not begun."""
        self._growths = growths
        self._next_growth: tuple[GrowthShape | None] | None = None
        """What the drafters would grow next, once that is chosen."""
        self.goes_on_plain = config.draft_failure == "plain"
        self._marks = Marks(graph_runner.device, clock)
        self._members: list[DeviceStepper] = []
        self._lanes: list[DeviceStepper | None] = []
        """As they stand in the state on the device."""
        self._launched: _Launched | None = None
        self._last: _Done | None = None
        self._times_before: StepTimes | None = None
        """Of the step before that, where it was as usual."""
        self._num_steps = 0
        if growths is not None:
            graph_runner.calibration.set(growths.calibration.tables)

    @torch.inference_mode()
    def ask(self, member: DeviceStepper) -> None:
        """Takes a sequence's wish for its next step, which is under way already or starts once all have
        asked."""
        if member not in self._members:
            self._members.append(member)
        if self._launched is not None:
            return
        if sum(other.is_waiting for other in self._members) == self.num_seats:
            self._launched = self._start()

    def leave(self, member: DeviceStepper) -> None:
        """Ends a sequence. A step that is under way writes behind what was told of it, and before
        anything that is started later."""
        self.num_seats -= 1
        if member in self._members:
            self._members.remove(member)
        if not self._members:
            self._launched = None
            self._lanes = []  # nobody holds on to the memory of the device

    @torch.inference_mode()
    def advance(self, waiting: Collection[DeviceStepper]) -> dict[DeviceStepper, Part]:
        """What the next step does for those who wait, all of whom have asked; who comes while one is
        under way gets the one after it."""
        step = self._launched
        if step is None or not any(member in waiting for member in step.members):
            step = self._start()
        self._learn_last()
        self._launched = self._launch_ahead(step)
        return self._parts(step, waiting)

    def _parts(
        self, step: _Launched, waiting: Collection[DeviceStepper]
    ) -> dict[DeviceStepper, Part]:
        """Waits for a step."""
        self._marks.wait(step.marks[-1])
        times = StepTimes(*(self._marks.seconds(mark) for mark in step.marks[:5]))
        readout = self.graph_runner.buffers(step.plan.kind).readout
        depths = [member.depth_limit for member in step.members]
        numbers = readout.numbers(step.fetched, depths)
        kind, trees, names = step.plan
        self._last = _Done(kind, times, step.is_usual)
        for member in waiting:
            member.is_waiting = member not in step.members
        return {
            member: Part(
                kind, None if trees is None else trees[lane], names[lane], own, times, step.failure
            )
            for lane, (member, own) in enumerate(zip(step.members, numbers, strict=True))
            if member in waiting
        }

    def told(self, outcome: Outcome, reach: list[float]) -> None:
        """Takes what became of a sequence's draft, to learn from."""
        if self._last is not None:
            self._last.outcomes.append((outcome, reach))

    def _start(self) -> _Launched:
        """Starts a step of all sequences, of which everything is known."""
        members = self._members
        return self._launched_step(members, [self._unseen(member) for member in members])

    def _launch_ahead(self, under_way: _Launched) -> _Launched | None:
        """Starts the step after the one under way, whose tokens are not known yet; None where the next
        step hangs on them: its trees if the host makes them, what a drafter must catch up on, or its
        depth, near the end of all runs."""
        graph_runner, kind = self.graph_runner, under_way.plan.kind
        members = self._members
        if not graph_runner.with_graphs or any(one.form.host_tree for one in members):
            return None
        if self._most_depth(members, under_way) < (
            0 if self._growths is None else self._growths.most
        ):
            return None
        unseen = []
        for member in members:
            if member not in under_way.members:
                unseen.append(self._unseen(member))
                continue
            length, num_seen = member.length - 1, member.num_seen
            if kind.growth is not None:
                num_seen += self._num_unseen(length, num_seen)
            unseen.append(self._num_unseen(length + 1, num_seen))
            most_unseen = self._num_unseen(length + kind.depth + 1, num_seen)
            drafter = graph_runner.drafter
            if drafter is not None and most_unseen > drafter.num_root_rows:
                return None
        return self._launched_step(members, unseen, under_way)

    def _most_depth(self, members: Sequence[DeviceStepper], under_way: _Launched | None) -> int:
        """How deep a draft may be: of one sequence as deep as it asks for. Of several what is too much
        for one is cut off when it is read, so that those near their ends do not shorten the others'.
        """
        most = -1
        for member in members:
            depth = member.depth_limit
            if under_way is not None and member in under_way.members:
                depth -= under_way.plan.kind.depth + 1
            most = max(most, depth)
        if most > 0 and self._growths is not None and len(members) > 1:
            return self._growths.most
        return most

    def _launched_step(
        self,
        members: Sequence[DeviceStepper],
        unseen: Sequence[int],
        under_way: _Launched | None = None,
    ) -> _Launched:
        """Starts a step. At least `unseen` rows are new to each one's drafter, and what comes of the
        step under way is not known."""
        members = list(members)
        start = self._marks.mark()
        try:
            plan = self._plan(members, unseen, under_way)
            self._arrange(members)
            is_usual = self._draft(plan, members, unseen)
        except Exception as error:
            failure = self._give_up(error)
            self._arrange(members)
            return self._start_plain(members, start, failure)
        return self._verify(members, start, plan, is_usual, None)

    def _start_plain(
        self, members: list[DeviceStepper], start: Mark, failure: DraftFailure
    ) -> _Launched:
        """A step that began at `start`, without a draft, for the drafter failed."""
        plan = self._plain(members, ["none"] * len(members))
        is_usual = self.graph_runner.draft(plan.kind)
        return self._verify(members, start, plan, is_usual, failure)

    def _verify(
        self,
        members: list[DeviceStepper],
        start: Mark,
        plan: _Plan,
        is_usual: bool,
        failure: DraftFailure | None,
    ) -> _Launched:
        """Starts what follows the draft of a step that began at `start`."""
        graph_runner, kind = self.graph_runner, plan.kind
        marks = [start, self._marks.mark()]
        is_usual = graph_runner.verify(kind) and is_usual
        marks.append(self._marks.mark())
        graph_runner.accept(kind)
        marks.append(self._marks.mark())
        graph_runner.commit(kind)
        marks.append(self._marks.mark())
        fetched = graph_runner.read(kind)
        marks.append(self._marks.mark())
        return _Launched(members, plan, marks, is_usual, fetched, failure)

    def _arrange(self, members: Sequence[DeviceStepper]) -> None:
        """Has the device know who is in which lane."""
        count = lanes_for(len(members))
        wanted = [*members, *[None] * (count - len(members))]
        if wanted == self._lanes:
            return
        lane_of = {member: lane for lane, member in enumerate(self._lanes)}
        self.graph_runner.state.arrange([_lane(member, lane_of) for member in wanted])
        self._lanes = wanted

    def _draft(self, plan: _Plan, members: Sequence[DeviceStepper], unseen: Sequence[int]) -> bool:
        """Has the trees of a step drafted; returns whether that ran as usual."""
        graph_runner, (kind, trees, _) = self.graph_runner, plan
        if trees is not None:
            graph_runner.give(kind, trees)
        if kind.growth is not None:
            self._catch_up(kind, members, list(unseen))
        return graph_runner.draft(kind)

    def _catch_up(
        self, kind: StepKind, members: Sequence[DeviceStepper], unseen: list[int]
    ) -> None:
        """The drafters take in what they have not seen; their own root pass does the last of it."""
        drafter = self.graph_runner.drafter
        assert drafter is not None
        count = drafter.num_root_rows
        while max(unseen) > count:
            self.graph_runner.catch_up(kind.sequences)
            for lane, member in enumerate(members):
                if unseen[lane] > count:  # as the device decides, too
                    unseen[lane] -= count
                    member.num_seen += count

    def _give_up(self, error: Exception) -> DraftFailure:
        """Goes on without drafters, one of which broke, or raises what it broke with."""
        if not self.goes_on_plain:
            raise error
        for member in self._members:
            member.give_up()
        self._growths = None
        return DraftFailure(type(error).__name__, describe_failure(error))

    def _plan(
        self,
        members: Sequence[DeviceStepper],
        unseen: Sequence[int],
        under_way: _Launched | None,
    ) -> _Plan:
        """The kind of the next step, its trees if the host makes them, and who drafts."""
        trees = [None if under_way is not None else member.host_tree() for member in members]
        names = [member.drafter_name for member in members]
        drafted = [tree for tree in trees if tree is not None and tree.num_drafted]
        growth = None
        if any(tree is None for tree in trees) and self._growths is not None and min(unseen) > 0:
            most = self._most_depth(members, under_way)
            if most > 0:
                growth = self._choose(self._growths, most, members[0].cost)
        if growth is None and not drafted:
            return self._plain(members, names)
        rows, depth = 1, 0
        if growth is not None:
            rows, depth = growth.num_kept + 1, growth.depth
        if drafted:
            rows = max(rows, *map(len, drafted))
            depth = max(depth, bucket(max(max(tree.depths) for tree in drafted)))
        is_mixed = growth is not None and any(tree is not None for tree in trees)
        kind = StepKind(lanes_for(len(members)), bucket(rows), depth, growth, is_mixed)
        return _Plan(kind, trees if is_mixed or growth is None else None, names)

    def _plain(self, members: Sequence[DeviceStepper], names: list[str]) -> _Plan:
        return _Plan(StepKind(lanes_for(len(members)), 1, 0, None), None, names)

    def _choose(
        self, growths: GrowthChoice, most: int, cost: CostOfRows | None
    ) -> GrowthShape | None:
        """What the drafters grow next: as it was chosen already, where the limits leave that."""
        chosen, self._next_growth = self._next_growth, None
        if chosen is None or most < growths.most:
            return growths.choose(most, cost)
        return chosen[0]

    def _unseen(self, member: DeviceStepper) -> int:
        return self._num_unseen(member.length - 1, member.num_seen)

    def _num_unseen(self, length: int, num_seen: int) -> int:
        """Rows that are new to a drafter, for so many tokens in the target's cache."""
        drafter = self.graph_runner.drafter
        if drafter is None or self._growths is None:
            return 0
        return drafter.num_unseen(length, num_seen)

    def seen_after(self, member: DeviceStepper, kind: StepKind) -> int:
        """What a drafter has seen of a sequence behind a step of this kind."""
        return member.num_seen + (0 if kind.growth is None else self._unseen(member))

    @torch.inference_mode()
    def redo_plain(self, member: DeviceStepper) -> Part:
        """Does a step again without its draft, which was no numbers. No cache keeps any of it, nor of
        what was started behind it: what a mask hides must be finite."""
        failure = self._give_up(bad_logits("drafter", member.length))
        self._lanes = []
        for other in self._members:
            other.wipe()
        start, members = self._marks.mark(), self._members.copy()
        self._arrange(members)
        self._launched = None
        return self._parts(self._start_plain(members, start, failure), members)[member]

    def _learn_last(self) -> None:
        """Learns from the step that was read last, and chooses what may be grown next; a device works on
        the step behind it meanwhile."""
        last, growths = self._last, self._growths
        if last is None or growths is None:
            return
        self._last = None
        times = last.times
        if last.kind.growth is not None and last.outcomes:
            draft_s = times.drafted_s - times.start_s if last.is_usual else None
            count, first = len(last.outcomes), self._num_steps * _MOST_LEARNED
            for turn in range(min(count, _MOST_LEARNED)):
                outcome, reach = last.outcomes[(first + turn) % count]
                growths.learn(last.kind.growth, outcome, reach, None if turn else draft_s)
            self.graph_runner.calibration.set(growths.calibration.tables)
        self._num_steps += 1
        before, self._times_before = self._times_before, times if last.is_usual else None
        if before is not None and last.is_usual:
            # From one step's start to the next one's, what its forwards do not explain.
            forwards_s = before.verified_s - before.start_s
            other_s = times.start_s - before.start_s - forwards_s
            # Who reads the events may have paused.
            growths.learn_other(min(other_s, forwards_s))
        if self._members:
            self._next_growth = (growths.choose(growths.most, self._members[0].cost),)


def _lane(
    member: DeviceStepper | None, lane_of: Mapping[DeviceStepper | None, int]
) -> int | Entry | None:
    """See `DeviceState.arrange`."""
    if member is None:
        return None
    return lane_of[member] if member in lane_of else member.entry()
