"""Several runs side by side whose forwards are computed together.

Each run is the loop of `core.decoding.loop`, with a cache, a drafter and a seed of its own, and knows
nothing of the others. It goes on until it needs a forward; when all wait for one, those that need
the same weights get theirs in one pass over the weights. The target verifies when no drafter has
anything left to do, so that one pass serves all. Sequences accept different numbers of tokens, draft
trees of different shapes, and end when they end.

A run that waits is a greenlet: its whole stack stands still in the middle of the loop or of a
drafter, and all of them share the thread that reads the events.
"""

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from greenlet import greenlet

from core.backends.logit_facts import part_with_facts
from core.backends.row_block import RowBlock, row_slices
from core.backends.runner import ModelRunner, TargetForward, compute_at_once
from core.config import MOST_TOGETHER, RunConfig
from core.decoding.device.seats import Seats
from core.decoding.device.shared_steps import Part
from core.decoding.device.stepper import DeviceStepper
from core.decoding.joining import never
from core.drafters.base import CostOfRows
from core.errors import InvalidSettingError, shown
from core.modes.share_sd import wants_offload
from core.trace.events import Event

# Rows of one pass, so that its activations stay bounded; long prompts come in such pieces, too.
MOST_ROWS_TOGETHER = 512

# Begins a run when it is called, and returns its events.
Start = Callable[[], Iterator[Event]]
# The next run to begin; None where there is none now.
NextStart = Callable[[], Start | None]


class _StepWish(NamedTuple):
    """A step on the device that a run waits for, and takes with those beside it."""

    stepper: DeviceStepper

    @property
    def key(self) -> Hashable:
        """See `_Wish.key`."""
        return id(self.stepper.steps)


class _Wish(NamedTuple):
    """A forward that a run waits for."""

    forward: TargetForward
    block: RowBlock
    want_logits: bool

    @property
    def key(self) -> Hashable:
        """Equal where one pass serves both."""
        return self.forward.pack_key, self.want_logits


class _Body(greenlet):
    """The stack of a run."""


@dataclass(eq=False, slots=True)
class _Member:
    """A run under way."""

    index: int
    body: _Body
    events: deque[Event] = field(default_factory=deque)
    wish: _Wish | _StepWish | None = None
    """What it waits for; None when it can go on, or has ended."""
    answer: Any = None
    error: Exception | None = None

    def go_on(self) -> None:
        """Runs up to the next forward, or to the end."""
        answer, self.answer = self.answer, None
        error, self.error = self.error, None
        self.wish = self.body.switch(answer) if error is None else self.body.throw(error)


class Scheduler(Protocol):
    """Whom a run shares its forwards with."""

    @property
    def size(self) -> int:
        """Runs side by side, at most."""
        ...

    @property
    def seats(self) -> Seats | None:
        """Where the device may do its steps together with those of others."""
        ...

    def wait(self, stepper: DeviceStepper) -> Part:
        """What the next step on the device does for a run that has a place there."""
        ...

    def own_runner(self, runner: ModelRunner) -> ModelRunner:
        """The runner that a run has for itself, of one that is kept between runs."""
        ...

    def shared(self, cost: CostOfRows) -> CostOfRows:
        """What a forward costs where each of the present runs gives so many rows."""
        ...


class Single:
    """Implements `Scheduler` for one run at a time, which may use what is kept."""

    size = 1
    seats = None

    def wait(self, stepper: DeviceStepper) -> Part:
        """See `Scheduler.wait`."""
        return stepper.steps.advance([stepper])[stepper]

    def own_runner(self, runner: ModelRunner) -> ModelRunner:
        """See `Scheduler.own_runner`."""
        return runner

    def shared(self, cost: CostOfRows) -> CostOfRows:
        """See `Scheduler.shared`."""
        return cost


class BatchScheduler:
    """Implements `Scheduler` for at most `size` runs side by side."""

    def __init__(self, size: int, target: TargetForward, seats: Seats | None = None):
        self.size = size
        self.seats = seats
        self._target = target
        self._num_running = 0

    def compute(
        self, forward: TargetForward, block: RowBlock, *, want_logits: bool
    ) -> torch.Tensor | None:
        """Implements `core.backends.runner.Compute`: waits, where it is called within a run."""
        body = greenlet.getcurrent()
        if not isinstance(body, _Body):  # something is made ready for a run that has not begun
            return compute_at_once(forward, block, want_logits=want_logits)
        hub = body.parent
        assert hub is not None, "whoever reads the events"
        answer: torch.Tensor | None = hub.switch(_Wish(forward, block, want_logits))
        return answer

    def wait(self, stepper: DeviceStepper) -> Part:
        """See `Scheduler.wait`; called within a run."""
        hub = greenlet.getcurrent().parent
        assert hub is not None, "whoever reads the events"
        part: Part = hub.switch(_StepWish(stepper))
        return part

    def own_runner(self, runner: ModelRunner) -> ModelRunner:
        """See `Scheduler.own_runner`: one with a cache of its own whose forwards are computed here."""
        return runner.sibling(compute=self.compute)

    def shared(self, cost: CostOfRows) -> CostOfRows:
        """See `Scheduler.shared`."""
        return lambda rows: cost(rows * max(1, self._num_running))

    def run(
        self, starts: Iterable[Start], should_stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Event]]:
        """The events of all runs, each with its run's index.

        One begins when another has ended, and none once the stop flag is raised.
        """
        waiting = deque(starts)

        def next_start() -> Start | None:
            return waiting.popleft() if waiting and not should_stop() else None

        return self.run_joining(next_start)

    def run_joining(self, next_start: NextStart) -> Iterator[tuple[int, Event]]:
        """The events of runs that may come while others go on, each with its run's index.

        Whenever there is room for a run it is asked for the next one; it ends when none runs and
        there is none.
        """
        indexes = itertools.count()
        members: list[_Member] = []

        def take() -> bool:
            start = next_start()
            if start is not None:
                members.append(_member(next(indexes), start))
            return start is not None

        try:
            while True:
                while len(members) < self.size and take():
                    pass
                if not members:
                    return
                self._num_running = len(members)
                for member in members:
                    if member.wish is None:
                        member.go_on()
                    while member.events:
                        yield member.index, member.events.popleft()
                    if member.wish is None:  # it has ended: the next takes its place
                        take()
                members = [member for member in members if member.wish is not None]
                self._grant(members)
        finally:
            for member in members:
                member.body.throw()  # ends it as if its reader had stopped reading

    def _grant(self, members: Sequence[_Member]) -> None:
        """Computes what is waited for, in as few passes as there are different weights.

        Verifications come last: who is done drafting waits for those who are not.
        """
        groups: dict[Hashable, list[_Member]] = {}
        on_device: dict[Hashable, list[_Member]] = {}
        for member in members:
            assert member.wish is not None, "those without one have ended"
            kind = on_device if isinstance(member.wish, _StepWish) else groups
            kind.setdefault(member.wish.key, []).append(member)
        last = self._target.pack_key, True
        if len(groups) > 1:
            groups.pop(last, None)
        for group in groups.values():
            for part in _parts(group):
                _compute(part)
        for group in on_device.values():
            _advance(group)


def _member(index: int, start: Start) -> _Member:
    def body(_: Any) -> None:
        for event in start():
            member.events.append(event)

    member = _Member(index, _Body(body))
    return member


def _parts(group: Sequence[_Member]) -> Iterator[list[_Member]]:
    """The group in pieces of at most MOST_ROWS_TOGETHER rows."""
    part: list[_Member] = []
    rows = 0
    for member in group:
        assert isinstance(member.wish, _Wish)
        rows += member.wish.block.num_rows
        if part and rows > MOST_ROWS_TOGETHER:
            yield part
            part, rows = [], member.wish.block.num_rows
        part.append(member)
    yield part


@torch.inference_mode()
def _compute(part: Sequence[_Member]) -> None:
    """One pass; where it breaks, it breaks in every run that waits for it."""
    wishes = [member.wish for member in part if isinstance(member.wish, _Wish)]
    blocks = [wish.block for wish in wishes]
    for member in part:
        member.wish = None
    try:
        logits = wishes[0].forward(blocks, want_logits=wishes[0].want_logits)
    except Exception as error:
        for member in part:
            member.error = error
        return
    for member, rows in zip(part, row_slices(blocks), strict=True):
        member.answer = None if logits is None else part_with_facts(logits, rows)


def _advance(group: Sequence[_Member]) -> None:
    """One step on the device; who came while it was under way waits for the next one."""
    waiting = {
        member.wish.stepper: member for member in group if isinstance(member.wish, _StepWish)
    }
    steps = next(iter(waiting)).steps
    try:
        parts = steps.advance(waiting)
    except Exception as error:
        for member in group:
            member.wish, member.error = None, error
        return
    for stepper, part in parts.items():
        waiting[stepper].wish, waiting[stepper].answer = None, part


def check_batch(configs: Sequence[RunConfig], size: int) -> None:
    """Raises InvalidSettingError for runs that cannot be side by side."""
    if not configs:
        raise InvalidSettingError("the batch has no prompts; give at least one.")
    if not 1 <= size <= MOST_TOGETHER:
        raise InvalidSettingError(
            f"the batch size is {shown(size)}; give a number from 1 to {MOST_TOGETHER}."
        )
    if any(config.gpu_memory is not None for config in configs):
        raise InvalidSettingError(
            "gpu_memory is for one sequence at a time; leave it out of a batch."
        )
    if len({wants_offload(config) for config in configs}) > 1:
        raise InvalidSettingError(
            "offload moves the target's weights for all of a batch; set it for every run or for "
            "none."
        )
