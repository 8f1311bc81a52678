"""One sequence's steps that the device does alone, together with those of others or for itself."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from core.acceptance.base import Judgement
from core.acceptance.device import Entry
from core.acceptance.sampling import seed_key
from core.backends.logits import bad_logits
from core.backends.runner import ModelRunner
from core.config import RunConfig
from core.decoding.device.shared_steps import Asked, Part, SharedSteps
from core.decoding.step import Clock, StepResult, StepTimes
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.drafters.device_form import DeviceForm
from core.trees.tree import DraftTree


class Place(NamedTuple):
    """Where a sequence's caches are."""

    region: int = 0
    leave: Callable[[], None] = lambda: None
    """Gives the region back."""


# Waits for the next step of a sequence.
Wait = Callable[["DeviceStepper"], Part]


class DeviceStepper:
    """Implements `core.decoding.step.Stepper` with the match rule, on one graph runner."""

    def __init__(
        self,
        steps: SharedSteps,
        wait: Wait,
        runner: ModelRunner,
        drafter: Drafter | None,
        config: RunConfig,
        *,
        place: Place,
        end_token_ids: frozenset[int],
        clock: Clock,
        cost: CostOfRows | None,
    ):
        """`cost` is the measured cost of a verification, None for fixed sizes."""
        self.context_limit = runner.context_limit
        self.cost = cost
        self.form = _form_of(drafter)
        self.asked: Asked | None = None
        """What it wants of the step that is told next; None before the first one."""
        self.is_waiting = False
        """Whether that step was not told yet."""
        self.num_seen = 0
        """Rows in the drafter's own cache in front of what the step after these tokens drafts."""
        self.steps = steps
        self._wait = wait
        self._runner = runner
        self._drafter = drafter
        self._own_runner = None if self.form.levels is None else self.form.levels.own_runner
        self._place = place
        self._seed_key = seed_key(config.sampling.seed)
        self._end_token_ids = end_token_ids
        self._records_noise = config.trace_top_k > 0 and not config.sampling.is_greedy
        self._offset_s = 0.0 if clock is steps.clock else clock() - steps.clock()
        self._token_ids: list[int] = []
        """Of prompt and output, without those of steps that were not read yet."""
        self._error: Exception | None = None
        steps.num_seats += 1

    @property
    def length(self) -> int:
        """Tokens of prompt and output that were read."""
        return len(self._token_ids)

    @property
    def depth_limit(self) -> int:
        """How deep the draft of the step may be that is told next."""
        assert self.asked is not None, "it has asked"
        return self.asked.limits.depth

    @property
    def drafter_name(self) -> str:
        return "none" if self._drafter is None else self._drafter.name

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `Stepper.begin`; the caches are large enough already."""
        num_reused = self._runner.begin(prompt_token_ids, max_length, should_stop)
        if self._drafter is not None:
            self._drafter.begin(prompt_token_ids, max_length)
        self._token_ids = prompt_token_ids.copy()
        # Tokens or states that the drafter's own cache holds after the prompt.
        self.num_seen = 0 if self._own_runner is None else self._own_runner.cache.length
        return num_reused

    def entry(self) -> Entry:
        """The sequence as the device takes it in."""
        return Entry(self._token_ids, self.num_seen, self._seed_key, self._place.region)

    def host_tree(self) -> DraftTree | None:
        """A tree for the step that was asked for, made by the host of known tokens; None where the
        device is to draft, if anybody."""
        assert self.asked is not None, "it has asked"
        root_token_id, limits = self.asked
        if self.form.host_tree is None:
            return None
        if limits.depth == 0:
            return DraftTree(root_token_id)
        try:
            return self.form.host_tree(root_token_id, limits, self.cost)
        except Exception as error:
            if self.steps.goes_on_plain:
                raise
            self._error = error  # which those beside it have nothing to do with
            return DraftTree(root_token_id)

    def launch(self, root_token_id: int, limits: DraftLimits) -> None:
        """See `Stepper.launch`; the step may be under way already."""
        self.asked, self.is_waiting = Asked(root_token_id, limits), True
        self.steps.ask(self)

    def result(self) -> StepResult:
        """See `Stepper.result`."""
        assert self.asked is not None, "launch() comes first"
        part = self._wait(self)
        if self._error is not None:
            raise self._error
        if not part.numbers.are_drafts_numbers:
            part = self.steps.redo_plain(self)
        numbers = part.numbers
        if not numbers.is_usable:
            raise bad_logits("target", self.length)
        tree, path = part.given or numbers.tree, numbers.path
        has_ended = bool(path) and tree.token_ids[path[-1]] in self._end_token_ids
        own = None if has_ended else numbers.next_token_id
        tested = _tested(tree, path, own)
        trials = [numbers.trials[node] for node in tested] if self._records_noise else []
        times = StepTimes(*(seconds + self._offset_s for seconds in part.times))
        result = StepResult(
            part.drafter,
            tree,
            Judgement(path, tested, own, trials),
            partial(numbers.read_logprobs, own is not None),
            times,
            part.failure,
        )
        self.num_seen = self.steps.seen_after(self, part.kind)
        self._token_ids += result.emitted
        outcome = Outcome(tree, path, tested, result.emitted)
        if self.form.learn is not None:
            step_s = times.accepted_s - times.start_s
            is_grown = part.kind.growth is not None and part.given is None
            self.form.learn(outcome, is_grown, step_s)
        if part.given is None:
            self.steps.told(outcome, numbers.reach)
        return result

    def give_up(self) -> None:
        """Goes on without the drafter."""
        if self._drafter is not None:
            with suppress(Exception):
                self._drafter.finish()
        self._drafter, self.form = None, DeviceForm()

    def wipe(self) -> None:
        """Leaves nothing in the caches behind what was told."""
        if self._own_runner is not None:
            self._own_runner.clear()
        self.num_seen = 0
        self._runner.cache.wipe(self.length - 1)

    def finish(self) -> None:
        """See `Stepper.finish`: the runner takes over what was committed."""
        self.steps.leave(self)
        self._runner.adopt(self._token_ids[:-1])
        self._runner.finish()
        if self._drafter is not None:
            if self._own_runner is not None:
                num_seen = min(self.num_seen, len(self._token_ids) - 1)
                self._own_runner.adopt(self._token_ids[:num_seen])
            self._drafter.finish()
        self._place.leave()


def _form_of(drafter: Drafter | None) -> DeviceForm:
    if drafter is None:
        return DeviceForm()
    form = drafter.device_form
    assert form is not None, "the host does the steps of others"
    return form


def _tested(tree: DraftTree, path: Sequence[int], own: int | None) -> list[int]:
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
