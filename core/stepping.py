"""One step of the loop: draft, verify, accept, commit. The host decides it here, part by part.

`core.resident` has the same step without the host, for devices that should not wait for it.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch

from core.acceptance import Judgement, judge, make_rule
from core.backend import Backend
from core.config import RunConfig
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.inspection import Inspection, Inspector
from core.sampling import TokenDrawer
from core.tree import DraftTree

Clock = Callable[[], float]


class StepTimes(NamedTuple):
    """Clock readings at the borders of a step's phases."""

    start_s: float
    drafted_s: float
    verified_s: float
    accepted_s: float
    committed_s: float


class StepResult(NamedTuple):
    """All that a step did."""

    drafter: str
    """Who drafted; none for plain decoding."""
    tree: DraftTree
    judgement: Judgement
    inspect: Callable[[], Inspection]
    """What is recorded of the distributions; asked for when the next step may be under way."""
    times: StepTimes

    @property
    def emitted(self) -> list[int]:
        """The tokens that the step emits, the target's own last."""
        token_ids = [self.tree.token_ids[node] for node in self.judgement.path]
        own = self.judgement.next_token_id
        return token_ids if own is None else [*token_ids, own]


class Stepper(Protocol):
    """Does the steps of one run. Calls come in the order begin, (launch, result)*, finish."""

    context_limit: int
    """Most tokens, prompt and output together."""

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `Backend.begin`."""
        ...

    def launch(self, root_token_id: int, limits: DraftLimits) -> None:
        """Starts a step; `root_token_id` is the last token of prompt or output."""
        ...

    def result(self) -> StepResult:
        """Waits for the step that was launched."""
        ...

    def finish(self) -> None:
        """Ends the run; a step without a result is forgotten."""
        ...


class HostStepper:
    """Implements `Stepper` over a backend and a drafter, whose trees are Python lists."""

    def __init__(
        self,
        backend: Backend,
        drafter: Drafter | None,
        config: RunConfig,
        *,
        device: torch.device,
        end_token_ids: frozenset[int],
        clock: Clock,
        cost: CostOfRows | None = None,
    ):
        """`cost` is the measured cost of a forward; None leaves tree sizes to the settings."""
        self.context_limit = backend.context_limit
        self._backend = backend
        self._drafter = drafter
        self._end_token_ids = end_token_ids
        self._clock = clock
        self._cost = cost
        drawer = TokenDrawer(config.sampling, backend.vocab_size, device)
        generator = torch.Generator().manual_seed(config.sampling.seed)
        self._rule = make_rule(
            config.accept,
            config.sampling,
            drawer,
            generator,
            records_noise=config.trace_top_k > 0,
        )
        self._inspector = Inspector(config.trace_top_k)
        self._length = 0
        self._launched: tuple[int, DraftLimits] | None = None

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `Stepper.begin`."""
        self._length = len(prompt_token_ids)
        num_reused = self._backend.begin(prompt_token_ids, max_length, should_stop)
        if self._drafter is not None:
            self._drafter.begin(prompt_token_ids, max_length)
        return num_reused

    def launch(self, root_token_id: int, limits: DraftLimits) -> None:
        """See `Stepper.launch`; the work is done when the result is asked for."""
        self._launched = root_token_id, limits

    def result(self) -> StepResult:
        """See `Stepper.result`."""
        assert self._launched is not None, "launch() comes first"
        start_s = self._clock()
        tree = self._draft(*self._launched)
        drafted_s = self._clock()
        logits = self._backend.tree_forward(tree)
        verified_s = self._clock()
        judgement = judge(self._rule, tree, logits, self._length, self._end_token_ids)
        accepted_s = self._clock()
        self._commit(tree, judgement)
        committed_s = self._clock()
        last_node = judgement.path[-1] if judgement.path else 0
        return StepResult(
            drafter=self._drafter.name if self._drafter is not None else "none",
            tree=tree,
            judgement=judgement,
            inspect=partial(
                self._inspector.inspect, logits, tree, last_node, judgement.next_token_id
            ),
            times=StepTimes(start_s, drafted_s, verified_s, accepted_s, committed_s),
        )

    def _draft(self, root_token_id: int, limits: DraftLimits) -> DraftTree:
        if self._drafter is None or limits.depth == 0:
            return DraftTree(root_token_id)
        return self._drafter.draft(root_token_id, limits, self._cost)

    def _commit(self, tree: DraftTree, judgement: Judgement) -> None:
        """Moves the accepted path into the cache and tells the drafter."""
        self._backend.commit(judgement.path)
        emitted = [tree.token_ids[node] for node in judgement.path]
        if judgement.next_token_id is not None:
            emitted.append(judgement.next_token_id)
        self._length += len(emitted)
        if self._drafter is not None:
            self._drafter.commit(Outcome(tree, judgement.path, judgement.tested, emitted))

    def finish(self) -> None:
        """See `Stepper.finish`."""
        self._launched = None
        self._backend.finish()
        if self._drafter is not None:
            self._drafter.finish()
