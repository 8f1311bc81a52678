"""Steps that the device does alone: the host starts them and reads what came of them, once.

Where the kind of a step does not hang on what comes of the one before it, it is started before that is
read, so that the device does not wait for the host.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch

from core.acceptance.base import Judgement
from core.backends.cuda.graphs import Mark, Marks
from core.backends.logits import bad_logits
from core.backends.runner import ModelRunner
from core.config import RunConfig
from core.decoding.device.graph_runner import GraphRunner, StepKind
from core.decoding.device.readout import StepNumbers
from core.decoding.step import Clock, DraftFailure, StepResult, StepTimes
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.drafters.device_form import DeviceForm
from core.drafters.growth_choice import GrowthChoice
from core.drafters.tree_growth_device import GrowthShape
from core.trace.failures import describe_failure
from core.trees.tensors import bucket
from core.trees.tree import DraftTree

_PLAIN = StepKind(rows=1, depth=0, growth=None)


class _Plan(NamedTuple):
    kind: StepKind
    tree: DraftTree | None
    """Where the host made it."""
    drafter: str


class _Launched(NamedTuple):
    plan: _Plan
    limits: DraftLimits
    marks: list[Mark]
    is_usual: bool
    """Whether all of it ran as it always will."""
    fetched: torch.Tensor
    """Where its results come, once the last mark is reached."""
    failure: DraftFailure | None
    """Of the drafter, before it."""


class _Done(NamedTuple):
    kind: StepKind
    outcome: Outcome
    reach: list[float]
    times: StepTimes
    is_usual: bool


class DeviceStepper:
    """Implements `core.decoding.step.Stepper` with the match rule, on one graph runner."""

    def __init__(
        self,
        graph_runner: GraphRunner,
        runner: ModelRunner,
        drafter: Drafter | None,
        form: DeviceForm,
        growths: GrowthChoice | None,
        config: RunConfig,
        *,
        end_token_ids: frozenset[int],
        clock: Clock,
        cost: CostOfRows | None,
    ):
        """`growths` chooses trees that the device grows; a drafter whose trees the host makes
        gives them itself. `cost` is the measured cost of a verification, None for fixed sizes."""
        self.context_limit = runner.context_limit
        self._graph_runner = graph_runner
        self._runner = runner
        self._drafter = drafter
        self._form = form
        self._own_runner = None if form.levels is None else form.levels.own_runner
        self._growths = growths
        self._next_growth: tuple[GrowthShape | None] | None = None
        """What the drafter would grow next, once that is chosen."""
        self._end_token_ids = end_token_ids
        self._records_noise = config.trace_top_k > 0 and not config.sampling.is_greedy
        self._goes_on_plain = config.draft_failure == "plain"
        self._marks = Marks(graph_runner.device, clock)
        self._cost = cost
        self._token_ids: list[int] = []
        """Of prompt and output, without those of steps that were not read yet."""
        self._num_seen = 0
        """Rows in the drafter's own cache in front of what the step after these tokens drafts."""
        self._launched: _Launched | None = None
        self._last: _Done | None = None
        """Read, and not learned from yet."""
        self._times_before: StepTimes | None = None
        """Of the step before that, where it was as usual."""

    @torch.inference_mode()
    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `Stepper.begin`; the graph runner's cache is large enough already."""
        num_reused = self._runner.begin(prompt_token_ids, max_length, should_stop)
        assert self._runner.cache is self._graph_runner.cache, "the cache was reserved for the run"
        if self._drafter is not None:
            self._drafter.begin(prompt_token_ids, max_length)
        self._token_ids = prompt_token_ids.copy()
        self._last = self._times_before = self._next_growth = None
        if self._growths is not None:
            self._graph_runner.calibration.set(self._growths.calibration.tables)
        # Tokens or states that the drafter's own cache holds after the prompt.
        self._num_seen = 0 if self._own_runner is None else self._own_runner.cache.length
        self._graph_runner.state.set(prompt_token_ids, self._num_seen)
        return num_reused

    @torch.inference_mode()
    def launch(self, root_token_id: int, limits: DraftLimits) -> None:
        """See `Stepper.launch`; the step may be under way already."""
        if self._launched is None:
            num_unseen = self._num_unseen(len(self._token_ids) - 1, self._num_seen)
            self._launched = self._start(limits, num_unseen, root_token_id)

    def _launch_ahead(self, under_way: _Launched) -> _Launched | None:
        """Starts the step after the one under way, whose tokens are not known yet; None where the next
        step hangs on them: its tree if the host makes it, what the drafter must catch up on, or its
        depth, near the end of the run."""
        graph_runner, kind = self._graph_runner, under_way.plan.kind
        if not graph_runner.with_graphs or self._form.host_tree is not None:
            return None
        most_emitted = kind.depth + 1
        limits = under_way.limits._replace(depth=under_way.limits.depth - most_emitted)
        if limits.depth < (0 if self._growths is None else self._growths.most):
            return None
        length, num_seen = len(self._token_ids) - 1, self._num_seen
        if kind.growth is not None:
            num_seen += self._num_unseen(length, num_seen)
        most_unseen = self._num_unseen(length + most_emitted, num_seen)
        if graph_runner.drafter is not None and most_unseen > graph_runner.drafter.num_root_rows:
            return None
        return self._start(limits, self._num_unseen(length + 1, num_seen), None)

    def _start(self, limits: DraftLimits, num_unseen: int, root_token_id: int | None) -> _Launched:
        """Starts a step. At least `num_unseen` rows are new to the drafter; the root's token is None
        where it is not known."""
        start = self._marks.mark()
        try:
            plan = self._plan(root_token_id, limits, num_unseen)
            is_usual = self._draft(plan, num_unseen)
        except Exception as error:
            return self._start_plain(start, limits, self._give_up(error))
        return self._verify(start, plan, limits, is_usual, None)

    def _start_plain(self, start: Mark, limits: DraftLimits, failure: DraftFailure) -> _Launched:
        """A step that began at `start`, without a draft, for the drafter failed."""
        is_usual = self._graph_runner.draft(_PLAIN)
        return self._verify(start, _Plan(_PLAIN, None, "none"), limits, is_usual, failure)

    def _verify(
        self,
        start: Mark,
        plan: _Plan,
        limits: DraftLimits,
        is_usual: bool,
        failure: DraftFailure | None,
    ) -> _Launched:
        """Starts what follows the draft of a step that began at `start`."""
        graph_runner, kind = self._graph_runner, plan.kind
        marks = [start, self._marks.mark()]
        is_usual = graph_runner.verify(kind) and is_usual
        marks.append(self._marks.mark())
        graph_runner.accept(kind)
        marks.append(self._marks.mark())
        graph_runner.commit(kind)
        marks.append(self._marks.mark())
        fetched = graph_runner.read(kind)
        marks.append(self._marks.mark())
        return _Launched(plan, limits, marks, is_usual, fetched, failure)

    def _draft(self, plan: _Plan, num_unseen: int) -> bool:
        """Has the tree of a step drafted; returns whether that ran as usual."""
        graph_runner, (kind, tree, _) = self._graph_runner, plan
        if tree is not None:
            graph_runner.give(kind, tree)
        if kind.growth is not None and self._growths is not None:
            self._catch_up(num_unseen)
        return graph_runner.draft(kind)

    def _catch_up(self, num_unseen: int) -> None:
        """The drafter takes in what it has not seen; its own root pass does the last of it."""
        drafter = self._graph_runner.drafter
        assert drafter is not None
        while num_unseen > drafter.num_root_rows:
            self._graph_runner.catch_up()
            num_unseen -= drafter.num_root_rows
            self._num_seen += drafter.num_root_rows

    def _give_up(self, error: Exception) -> DraftFailure:
        """Goes on without a drafter that broke, or raises what it broke with."""
        if not self._goes_on_plain:
            raise error
        if self._drafter is not None:
            with suppress(Exception):
                self._drafter.finish()
        self._drafter = self._growths = None
        self._form = DeviceForm()
        return DraftFailure(type(error).__name__, describe_failure(error))

    def _plan(self, root_token_id: int | None, limits: DraftLimits, num_unseen: int) -> _Plan:
        """The kind of the next step, its tree if the host makes it, and who drafts."""
        drafter = self._drafter
        if drafter is None:
            return _Plan(_PLAIN, None, "none")
        if limits.depth == 0:
            return _Plan(_PLAIN, None, drafter.name)
        tree = None
        if self._form.host_tree is not None and root_token_id is not None:
            tree = self._form.host_tree(root_token_id, limits, self._cost)
        if tree is not None:
            kind = StepKind(
                bucket(len(tree)), bucket(max(tree.depths)) if tree.num_drafted else 0, None
            )
            return _Plan(kind, tree, drafter.name)
        growth = None
        if self._growths is not None and num_unseen > 0:
            growth = self._choose(self._growths, limits)
        if growth is None:
            return _Plan(_PLAIN, None, drafter.name)
        return _Plan(
            StepKind(bucket(growth.num_kept + 1), growth.depth, growth), None, drafter.name
        )

    def _choose(self, growths: GrowthChoice, limits: DraftLimits) -> GrowthShape | None:
        """What the drafter grows next: as it was chosen already, where the limits leave that."""
        chosen, self._next_growth = self._next_growth, None
        if chosen is None or limits.depth < growths.most:
            return growths.choose(limits.depth, self._cost)
        return chosen[0]

    def _num_unseen(self, length: int, num_seen: int) -> int:
        """Rows that are new to the drafter, for so many tokens in the target's cache."""
        drafter = self._graph_runner.drafter
        if drafter is None or self._growths is None:
            return 0
        return drafter.num_unseen(length, num_seen)

    @torch.inference_mode()
    def _redo_plain(self, step: _Launched) -> _Launched:
        """Does a step again without its draft, which was no numbers. No cache keeps any of it, nor of
        what was started behind it: what a mask hides must be finite."""
        if self._own_runner is not None:
            self._own_runner.clear()
        self._num_seen = 0
        self._graph_runner.cache.wipe(len(self._token_ids) - 1)
        failure = self._give_up(bad_logits("drafter", len(self._token_ids)))
        self._graph_runner.state.set(self._token_ids, self._num_seen)
        return self._start_plain(step.marks[0], step.limits, failure)

    @torch.inference_mode()
    def result(self) -> StepResult:
        """See `Stepper.result`."""
        assert self._launched is not None, "launch() comes first"
        step = self._launched
        self._learn_last()
        self._launched = self._launch_ahead(step)
        numbers = self._numbers_of(step)
        if not numbers.are_drafts_numbers:
            step, self._launched = self._redo_plain(step), None
            numbers = self._numbers_of(step)
        if not numbers.is_usable:
            raise bad_logits("target", len(self._token_ids))
        kind, given, name = step.plan
        times = StepTimes(*(self._marks.seconds(mark) for mark in step.marks[:5]))
        tree, path = given or numbers.tree, numbers.path
        has_ended = bool(path) and tree.token_ids[path[-1]] in self._end_token_ids
        own = None if has_ended else numbers.next_token_id
        tested = _tested(tree, path, own)
        trials = [numbers.trials[node] for node in tested] if self._records_noise else []
        judgement = Judgement(path, tested, own, trials)
        read_logprobs = partial(numbers.read_logprobs, own is not None)
        result = StepResult(name, tree, judgement, read_logprobs, times, step.failure)
        if kind.growth is not None:
            self._num_seen += self._num_unseen(len(self._token_ids) - 1, self._num_seen)
        self._token_ids += result.emitted
        outcome = Outcome(tree, path, tested, result.emitted)
        if self._form.learn is not None:
            step_s = times.accepted_s - times.start_s
            self._form.learn(outcome, kind.growth is not None, step_s)
        self._last = _Done(kind, outcome, numbers.reach, times, step.is_usual)
        return result

    def _numbers_of(self, step: _Launched) -> StepNumbers:
        """Waits for a step."""
        self._marks.wait(step.marks[-1])
        return self._graph_runner.buffers(step.plan.kind).readout.numbers(step.fetched)

    def _learn_last(self) -> None:
        """Learns from the step that was read last, and chooses what may be grown next; a device works on
        the step behind it meanwhile."""
        last, growths = self._last, self._growths
        if last is None or growths is None:
            return
        self._last = None
        times = last.times
        draft_s = times.drafted_s - times.start_s if last.is_usual else None
        if last.kind.growth is not None:
            growths.learn(last.kind.growth, last.outcome, last.reach, draft_s)
            self._graph_runner.calibration.set(growths.calibration.tables)
        before, self._times_before = self._times_before, times if last.is_usual else None
        if before is not None and last.is_usual:
            # From one step's start to the next one's, what its forwards do not explain.
            forwards_s = before.verified_s - before.start_s
            other_s = times.start_s - before.start_s - forwards_s
            # Who reads the events may have paused.
            growths.learn_other(min(other_s, forwards_s))
        self._next_growth = (growths.choose(growths.most, self._cost),)

    def finish(self) -> None:
        """See `Stepper.finish`: the runner takes over what was committed. A step that is under way
        writes behind that, and before anything that is started later."""
        self._launched = None
        self._runner.adopt(self._token_ids[:-1])
        self._runner.finish()
        if self._drafter is not None:
            if self._own_runner is not None:
                num_seen = min(self._num_seen, len(self._token_ids) - 1)
                self._own_runner.adopt(self._token_ids[:num_seen])
            self._drafter.finish()


def _tested(tree: DraftTree, path: list[int], own: int | None) -> list[int]:
    """The children that the match rule looked at, in order, down to the first that is the token."""
    tested: list[int] = []
    wanted = [*path, None]
    for node, next_node in zip([0, *path], wanted, strict=True):
        if next_node is None and own is None:
            break
        for child in tree.children[node]:
            tested.append(child)
            if child == next_node:
                break
    return tested
