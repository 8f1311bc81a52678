"""Steps that the device does alone: the host starts them and reads what came of them, once."""

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
from core.decoding.device.graph_runner import GraphRunner, StepKind, bucket
from core.decoding.failures import describe_failure
from core.decoding.step import Clock, DraftFailure, StepResult, StepTimes
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.drafters.depth_choice import DepthChoice
from core.drafters.device_form import DeviceForm
from core.trees.tensors import TreeRows
from core.trees.tree import DraftTree

_PLAIN = StepKind(rows=1, depth=0, growth=None)


class _Launched(NamedTuple):
    kind: StepKind
    tree: DraftTree | None
    """Where the host made it."""
    drafter: str
    marks: list[Mark]
    is_usual: bool
    """Whether all of it ran as it always will."""


class DeviceStepper:
    """Implements `core.decoding.step.Stepper` with the match rule, on one graph runner."""

    def __init__(
        self,
        graph_runner: GraphRunner,
        runner: ModelRunner,
        drafter: Drafter | None,
        form: DeviceForm,
        depths: DepthChoice | None,
        config: RunConfig,
        *,
        end_token_ids: frozenset[int],
        clock: Clock,
        cost: CostOfRows | None,
    ):
        """`depths` chooses trees that the device grows; a drafter whose trees the host makes
        gives them itself. `cost` is the measured cost of a verification, None for fixed sizes."""
        self.context_limit = runner.context_limit
        self._graph_runner = graph_runner
        self._runner = runner
        self._drafter = drafter
        self._form = form
        self._own_runner = None if form.levels is None else form.levels.own_runner
        self._depths = depths
        self._end_token_ids = end_token_ids
        self._records_noise = config.trace_top_k > 0 and not config.sampling.is_greedy
        self._goes_on_plain = config.draft_failure == "plain"
        self._draft_failure: DraftFailure | None = None
        self._marks = Marks(graph_runner.device, clock)
        self._cost = cost
        self._token_ids: list[int] = []
        self._num_seen = 0
        self._launched: _Launched | None = None
        self._last_times: StepTimes | None = None

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
        self._last_times = None
        # Tokens or states that the drafter's own cache holds after the prompt.
        self._num_seen = 0 if self._own_runner is None else self._own_runner.cache.length
        self._graph_runner.state.set(prompt_token_ids, self._num_seen)
        return num_reused

    @torch.inference_mode()
    def launch(self, root_token_id: int, limits: DraftLimits) -> None:
        """See `Stepper.launch`."""
        start = self._marks.mark()
        try:
            drafted = self._draft(root_token_id, limits)
        except Exception as error:
            self._give_up(error)
            drafted = self._draft_nothing()
        self._verify(start, *drafted)

    def _draft_nothing(self) -> tuple[StepKind, DraftTree | None, str, bool]:
        return _PLAIN, None, "none", self._graph_runner.draft(_PLAIN)

    def _verify(
        self, start: Mark, kind: StepKind, tree: DraftTree | None, name: str, is_usual: bool
    ) -> None:
        """Starts what follows the draft of a step that began at `start`."""
        graph_runner = self._graph_runner
        marks = [start, self._marks.mark()]
        is_usual = graph_runner.verify(kind) and is_usual
        marks.append(self._marks.mark())
        graph_runner.accept(kind)
        marks.append(self._marks.mark())
        graph_runner.commit(kind)
        marks.append(self._marks.mark())
        graph_runner.read(kind)
        marks.append(self._marks.mark())
        self._launched = _Launched(kind, tree, name, marks, is_usual)

    def _draft(
        self, root_token_id: int, limits: DraftLimits
    ) -> tuple[StepKind, DraftTree | None, str, bool]:
        """Plans the step and has its tree drafted; the last says whether that ran as usual."""
        graph_runner = self._graph_runner
        kind, tree, name = self._plan(root_token_id, limits)
        if tree is not None:
            _upload(tree, graph_runner.buffers(kind).tree)
        if kind.growth is not None and self._depths is not None:
            graph_runner.calibration.set(self._depths.calibration.tables)
            self._catch_up()
        return kind, tree, name, graph_runner.draft(kind)

    def _give_up(self, error: Exception) -> None:
        """Goes on without a drafter that broke, or raises what it broke with."""
        if not self._goes_on_plain:
            raise error
        self._draft_failure = DraftFailure(type(error).__name__, describe_failure(error))
        if self._drafter is not None:
            with suppress(Exception):
                self._drafter.finish()
        self._drafter = self._depths = None

    def _plan(
        self, root_token_id: int, limits: DraftLimits
    ) -> tuple[StepKind, DraftTree | None, str]:
        """The kind of the next step, its tree if the host makes it, and who drafts."""
        drafter = self._drafter
        if drafter is None:
            return _PLAIN, None, "none"
        if limits.depth == 0:
            return _PLAIN, None, drafter.name
        tree = None
        if self._form.host_tree is not None:
            tree = self._form.host_tree(root_token_id, limits, self._cost)
        if tree is not None:
            kind = StepKind(
                bucket(len(tree)), bucket(max(tree.depths)) if tree.num_drafted else 0, None
            )
            return kind, tree, drafter.name
        growth = None
        if self._depths is not None and self._num_unseen() > 0:
            growth = self._depths.choose(limits.depth, self._cost)
        if growth is None:
            return _PLAIN, None, drafter.name
        return StepKind(bucket(growth.num_kept + 1), growth.depth, growth), None, drafter.name

    def _num_unseen(self) -> int:
        assert self._graph_runner.drafter is not None
        return self._graph_runner.drafter.num_unseen(len(self._token_ids) - 1, self._num_seen)

    def _catch_up(self) -> None:
        """The drafter takes in what it has not seen; its own root pass does the last of it."""
        drafter = self._graph_runner.drafter
        assert drafter is not None
        unseen = self._num_unseen()
        while unseen > drafter.num_root_rows:
            self._graph_runner.catch_up()
            unseen -= drafter.num_root_rows
            self._num_seen += drafter.num_root_rows
        self._num_seen += unseen

    @torch.inference_mode()
    def _redo_plain(self, start: Mark) -> None:
        """Does the step that began at `start` again without its draft, which was no numbers. No
        cache keeps any of it: what a mask hides must be finite."""
        if self._own_runner is not None:
            self._own_runner.clear()
        self._num_seen = 0
        self._graph_runner.cache.wipe(len(self._token_ids) - 1)
        self._give_up(bad_logits("drafter", len(self._token_ids)))
        self._graph_runner.state.set(self._token_ids, self._num_seen)
        self._verify(start, *self._draft_nothing())

    def result(self) -> StepResult:
        """See `Stepper.result`."""
        assert self._launched is not None, "launch() comes first"
        kind, given, name, marks, is_usual = self._launched
        self._launched = None
        self._marks.wait(marks[-1])
        numbers = self._graph_runner.buffers(kind).readout.numbers()
        if not numbers.are_drafts_numbers:
            self._redo_plain(marks[0])
            return self.result()
        if not numbers.is_usable:
            raise bad_logits("target", len(self._token_ids))
        times = StepTimes(*(self._marks.seconds(mark) for mark in marks[:5]))
        tree, path = given or numbers.tree, numbers.path
        has_ended = bool(path) and tree.token_ids[path[-1]] in self._end_token_ids
        own = None if has_ended else numbers.next_token_id
        tested = _tested(tree, path, own)
        trials = [numbers.trials[node] for node in tested] if self._records_noise else []
        judgement = Judgement(path, tested, own, trials)
        read_logprobs = partial(numbers.read_logprobs, own is not None)
        failure, self._draft_failure = self._draft_failure, None
        result = StepResult(name, tree, judgement, read_logprobs, times, failure)
        self._learn(kind, result, times.drafted_s - times.start_s if is_usual else None)
        self._learn_other(times if is_usual else None)
        return result

    def _learn_other(self, times: StepTimes | None) -> None:
        """From one step's start to the next one's, what its forwards do not explain."""
        last, self._last_times = self._last_times, times
        if last is None or times is None or self._depths is None:
            return
        forwards_s = last.verified_s - last.start_s
        other_s = times.start_s - last.start_s - forwards_s
        # Who reads the events may have paused.
        self._depths.learn_other(min(other_s, forwards_s))

    def _learn(self, kind: StepKind, result: StepResult, draft_s: float | None) -> None:
        self._token_ids += result.emitted
        outcome = Outcome(
            result.tree, result.judgement.path, result.judgement.tested, result.emitted
        )
        if kind.growth is not None and self._depths is not None:
            self._depths.learn(kind.growth.depth, outcome, draft_s)
        if self._drafter is not None and self._form.learn is not None:
            step_s = result.times.accepted_s - result.times.start_s
            self._form.learn(outcome, kind.growth is not None, step_s)

    def finish(self) -> None:
        """See `Stepper.finish`: the runner takes over what was committed."""
        self._launched = None
        self._runner.synchronize()
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


def _upload(tree: DraftTree, rows: TreeRows) -> None:
    """Copies a tree that the host made to the device."""
    count = len(tree)
    whole = torch.tensor([tree.token_ids, [0, *tree.parents[1:]], tree.depths])
    probs = torch.tensor(tree.draft_probs)
    if rows.parents.device.type == "cuda":
        whole, probs = whole.pin_memory(), probs.pin_memory()
    for target, source in zip((rows.token_ids, rows.parents, rows.depths), whole, strict=True):
        target[:count].copy_(source, non_blocking=True)
        target[count:].zero_()
    rows.probs[:count].copy_(probs, non_blocking=True)
    rows.num_nodes.fill_(count)
