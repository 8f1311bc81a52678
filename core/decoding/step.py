"""One step of the loop: draft, verify, accept, commit. The host decides it here, part by part.

`core.decoding.device` has the same step without the host, for devices that should not wait for it.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import torch

from core.acceptance.base import Judgement, RuleParts, judge, judge_greedily
from core.acceptance.corrections import Corrections
from core.acceptance.registry import make_rule
from core.acceptance.sampling import TokenDrawer, divisor, stream_seed
from core.backends.logit_facts import facts_of
from core.backends.logits import LogitFacts, check_target
from core.config import RunConfig
from core.decoding.backend import Backend
from core.decoding.logprobs import NOT_RECORDED, Logprobs, logprobs_from
from core.drafters.base import Drafter, DraftLimits, Outcome
from core.drafters.pace import StepCost
from core.trace.failures import describe_failure
from core.trees.tree import DraftTree

Clock = Callable[[], float]
T = TypeVar("T")


class StepTimes(NamedTuple):
    """Clock readings at the borders of a step's phases."""

    start_s: float
    drafted_s: float
    verified_s: float
    accepted_s: float
    committed_s: float


class DraftFailure(NamedTuple):
    """Why a drafter was given up."""

    error: str
    message: str


class StepResult(NamedTuple):
    """All that a step did."""

    drafter: str
    """Who drafted; none for plain decoding."""
    tree: DraftTree
    judgement: Judgement
    read_logprobs: Callable[[], Logprobs]
    """What is recorded of the distributions; asked for when the next step may be under way."""
    times: StepTimes
    draft_failure: DraftFailure | None = None
    """Where the drafter broke in this step, or before the first one."""
    forced: frozenset[int] = frozenset()
    """Accepted nodes in whose place a constraint allowed nothing else."""

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
        cost: StepCost | None = None,
        corrections: Corrections | None = None,
        num_given: int = 0,
    ):
        """`cost` is what a step costs, and learns from each; None leaves tree sizes to the settings.
        `corrections`, which have begun, are None where tokens are chosen by the logits as they are. The
        answer begins with `num_given` tokens that no step chooses."""
        self.context_limit = backend.context_limit
        self._backend = backend
        self._drafter = drafter
        self._end_token_ids = end_token_ids
        self._clock = clock
        self._cost = cost
        self._corrections = corrections
        drawer = TokenDrawer(config.sampling, backend.vocab_size, device)
        seed = stream_seed(config.sampling.seed, num_given)
        generator = torch.Generator().manual_seed(seed)
        self._rule = make_rule(
            config.accept,
            RuleParts(config.sampling, drawer, generator, records_noise=config.trace_top_k > 0),
        )
        self._trace_top_k = config.trace_top_k
        self._is_greedy = config.sampling.is_greedy
        self._divisor = divisor(config.sampling)
        self._goes_on_plain = config.draft_failure == "plain"
        self._draft_failure: DraftFailure | None = None
        self._length = 0
        self._launched: tuple[int, DraftLimits] | None = None

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `Stepper.begin`."""
        self._length = len(prompt_token_ids)
        num_reused = self._backend.begin(prompt_token_ids, max_length, should_stop)
        self._ask(lambda drafter: drafter.begin(prompt_token_ids, max_length), None)
        return num_reused

    def _ask(self, do: Callable[[Drafter], T], otherwise: T) -> T:
        """What the drafter does; one that breaks is given up, where the run is to go on plain."""
        if self._drafter is None:
            return otherwise
        try:
            return do(self._drafter)
        except Exception as error:
            if not self._goes_on_plain:
                raise
            self._draft_failure = DraftFailure(type(error).__name__, describe_failure(error))
            with suppress(Exception):
                self._drafter.finish()
            self._drafter = None
            return otherwise

    def launch(self, root_token_id: int, limits: DraftLimits) -> None:
        """See `Stepper.launch`; the work is done when the result is asked for."""
        self._launched = root_token_id, limits

    def result(self) -> StepResult:
        """See `Stepper.result`."""
        assert self._launched is not None, "launch() comes first"
        start_s = self._clock()
        tree = self._draft(*self._launched)
        drafter = self._drafter.name if self._drafter is not None else "none"
        drafted_s = self._clock()
        logits = self._backend.tree_forward(tree)
        verified_s = self._clock()
        if self._corrections is not None:
            logits = self._corrections.corrected(logits, tree)
        facts = facts_of(logits, max(1, self._trace_top_k))
        judgement = self._judge(logits, facts, tree)
        forced = frozenset[int]()
        if self._corrections is not None:
            forced = self._corrections.forced(logits, tree, judgement.path)
        accepted_s = self._clock()
        self._commit(tree, judgement)
        committed_s = self._clock()
        if self._cost is not None:
            self._cost.learn(len(tree), verified_s - drafted_s, committed_s - verified_s)
        last_node = judgement.path[-1] if judgement.path else 0
        failure, self._draft_failure = self._draft_failure, None
        return StepResult(
            drafter=drafter,
            tree=tree,
            judgement=judgement,
            read_logprobs=partial(
                logprobs_from, facts, logits, tree, last_node, judgement.next_token_id
            )
            if self._trace_top_k
            else lambda: NOT_RECORDED,
            times=StepTimes(start_s, drafted_s, verified_s, accepted_s, committed_s),
            draft_failure=failure,
            forced=forced,
        )

    def _judge(
        self,
        logits: torch.Tensor,  # [num_nodes, vocab]
        facts: LogitFacts,
        tree: DraftTree,
    ) -> Judgement:
        """Raises BadLogitsError where the largest logit of any node is no number."""
        positions = (self._length + depth for depth in tree.depths)
        check_target([best for best, *_ in facts.top_logits], positions, self._divisor)
        if self._is_greedy:
            best_ids = [best for best, *_ in facts.top_ids]
            return judge_greedily(tree, best_ids, self._end_token_ids)
        return judge(self._rule, tree, logits, self._length, self._end_token_ids)

    def _draft(self, root_token_id: int, limits: DraftLimits) -> DraftTree:
        root = DraftTree(root_token_id)
        if limits.depth == 0:
            return root
        return self._ask(lambda drafter: drafter.draft(root_token_id, limits, self._cost), root)

    def _commit(self, tree: DraftTree, judgement: Judgement) -> None:
        """Moves the accepted path into the cache and tells the drafter."""
        self._backend.commit(judgement.path)
        emitted = [tree.token_ids[node] for node in judgement.path]
        if judgement.next_token_id is not None:
            emitted.append(judgement.next_token_id)
        self._length += len(emitted)
        if self._corrections is not None:
            self._corrections.commit(emitted)
        outcome = Outcome(tree, judgement.path, judgement.tested, emitted)
        self._ask(lambda drafter: drafter.commit(outcome), None)

    def finish(self) -> None:
        """See `Stepper.finish`."""
        self._launched = None
        self._backend.finish()
        if self._drafter is not None:
            self._drafter.finish()
