"""The loop of every mode: prefill, then draft, verify, accept, commit, emit.

Plain decoding is this loop without a drafter. It is a generator of events; to stop it, stop
iterating or raise the stop flag.
"""

from collections.abc import Callable, Generator
from typing import NamedTuple, Protocol

import torch

from core.acceptance import Judgement, judge, make_rule
from core.backend import Backend
from core.config import MAX_TREE_NODES, RunConfig
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.errors import InvalidSettingError
from core.events import (
    Accepted,
    Committed,
    Drafted,
    Event,
    FinishReason,
    Prefilled,
    TokenSource,
    Verified,
)
from core.inspection import Inspection, Inspector
from core.sampling import TokenDrawer
from core.tree import DraftTree

Clock = Callable[[], float]


class TextStream(Protocol):
    """Turns token ids into text piece by piece."""

    def push(self, token_id: int) -> str:
        """What the token adds to the text; empty while a character is incomplete."""
        ...


class _Times(NamedTuple):
    """Clock readings at the borders of a step's phases."""

    start_s: float
    drafted_s: float
    verified_s: float
    accepted_s: float
    committed_s: float


def check_prompt(prompt_token_ids: list[int], context_limit: int) -> None:
    """Raises InvalidSettingError for an empty prompt and for one that fills the context."""
    if not prompt_token_ids:
        raise InvalidSettingError("the prompt is empty; give at least one token of text.")
    if len(prompt_token_ids) >= context_limit:
        raise InvalidSettingError(
            f"the prompt has {len(prompt_token_ids)} tokens and the model's context holds "
            f"{context_limit}; shorten the prompt or clear the chat."
        )


class Decoder:
    """One run of the loop over a backend. The parts are given; the loop owns the token ids."""

    def __init__(
        self,
        backend: Backend,
        drafter: Drafter | None,
        config: RunConfig,
        *,
        device: torch.device,
        end_token_ids: frozenset[int],
        text: TextStream,
        clock: Clock,
        should_stop: Callable[[], bool],
        cost: CostOfRows | None = None,
    ):
        """`cost` is the measured cost of a forward; None leaves tree sizes to the settings."""
        self._backend = backend
        self._drafter = drafter
        self._config = config
        self._end_token_ids = end_token_ids
        self._text = text
        self._clock = clock
        self._should_stop = should_stop
        self._cost = cost
        drawer = TokenDrawer(config.sampling, backend.vocab_size, device)
        generator = torch.Generator().manual_seed(config.sampling.seed)
        self._rule = make_rule(config.accept, config.sampling, drawer, generator)
        self._inspector = Inspector(config.trace_top_k)
        self._num_prompt_tokens = 0
        self._num_emitted = 0

    def run(self, prompt_token_ids: list[int]) -> Generator[Event, None, FinishReason]:
        """Yields Prefilled, then four events a step; returns why the run ended.

        Raises InvalidSettingError for an empty prompt and for one that fills the context.
        """
        check_prompt(prompt_token_ids, self._backend.context_limit)
        try:
            yield self._prefill(prompt_token_ids)
            root_token_id = prompt_token_ids[-1]
            step = 0
            while (reason := self._end_reason(root_token_id if step else None)) is None:
                step += 1
                events = self._step(step, root_token_id)
                yield from events
                root_token_id = events[-1].token_ids[-1]
            return reason
        finally:
            self._backend.finish()
            if self._drafter is not None:
                self._drafter.finish()

    def _prefill(self, prompt_token_ids: list[int]) -> Prefilled:
        start_s = self._clock()
        self._num_prompt_tokens = len(prompt_token_ids)
        longest = min(
            self._num_prompt_tokens + self._config.max_new_tokens, self._backend.context_limit
        )
        num_reused = self._backend.begin(prompt_token_ids, longest, self._should_stop)
        if self._drafter is not None:
            self._drafter.begin(prompt_token_ids, longest)
        return Prefilled(
            step=0,
            t_start_s=start_s,
            t_end_s=self._clock(),
            num_tokens=len(prompt_token_ids) - 1 - num_reused,
            num_reused=num_reused,
            cache_length=len(prompt_token_ids) - 1,
        )

    @property
    def _length(self) -> int:
        """Tokens of prompt and output; the last one is the root of the next tree."""
        return self._num_prompt_tokens + self._num_emitted

    def _end_reason(self, last_token_id: int | None) -> FinishReason | None:
        if last_token_id in self._end_token_ids:
            return "eos"
        if self._num_emitted >= self._config.max_new_tokens:
            return "length"
        if self._length >= self._backend.context_limit:
            return "context"
        if self._should_stop():
            return "stopped"
        return None

    def _step(self, step: int, root_token_id: int) -> tuple[Drafted, Verified, Accepted, Committed]:
        start_s = self._clock()
        tree = self._draft(root_token_id)
        drafted_s = self._clock()
        logits = self._backend.tree_forward(tree)
        verified_s = self._clock()
        judgement = judge(self._rule, tree, logits, self._length, self._end_token_ids)
        accepted_s = self._clock()
        emitted = self._commit(tree, judgement)
        committed_s = self._clock()
        inspection = self._inspect(tree, logits, judgement)
        times = _Times(start_s, drafted_s, verified_s, accepted_s, committed_s)
        return self._emit(step, tree, judgement, emitted, inspection, times)

    def _draft(self, root_token_id: int) -> DraftTree:
        remaining = min(
            self._config.max_new_tokens - self._num_emitted,
            self._backend.context_limit - self._length,
        )
        # The target's own token ends every step, so a draft need not be as long as what remains.
        limits = DraftLimits(num_nodes=MAX_TREE_NODES, depth=remaining - 1)
        if self._drafter is None or limits.depth == 0:
            return DraftTree(root_token_id)
        return self._drafter.draft(root_token_id, limits, self._cost)

    def _commit(self, tree: DraftTree, judgement: Judgement) -> list[int]:
        """Moves the accepted path into the cache; returns the tokens that the step emits."""
        self._backend.commit(judgement.path)
        emitted = [tree.token_ids[node] for node in judgement.path]
        if judgement.next_token_id is not None:
            emitted.append(judgement.next_token_id)
        self._num_emitted += len(emitted)
        if self._drafter is not None:
            self._drafter.commit(Outcome(tree, judgement.path, judgement.tested, emitted))
        return emitted

    def _inspect(self, tree: DraftTree, logits: torch.Tensor, judgement: Judgement) -> Inspection:
        last_node = judgement.path[-1] if judgement.path else 0
        return self._inspector.inspect(logits, tree, last_node, judgement.next_token_id)

    def _emit(
        self,
        step: int,
        tree: DraftTree,
        judgement: Judgement,
        emitted: list[int],
        inspection: Inspection,
        times: _Times,
    ) -> tuple[Drafted, Verified, Accepted, Committed]:
        next_source: TokenSource | None
        if judgement.next_token_id is None:
            next_source = None
        elif tree.num_drafted == 0:
            next_source = "plain"
        else:
            last_node = judgement.path[-1] if judgement.path else 0
            next_source = "recovered" if tree.children[last_node] else "bonus"
        own: list[TokenSource] = [] if next_source is None else [next_source]
        accepted_sources: list[TokenSource] = ["accepted"] * len(judgement.path)
        drafted = Drafted(
            step=step,
            t_start_s=times.start_s,
            t_end_s=times.drafted_s,
            drafter=self._drafter.name if self._drafter is not None else "none",
            token_ids=tree.token_ids,
            parents=tree.parents,
            depths=tree.depths,
            draft_probs=tree.draft_probs,
            top_k_token_ids=tree.top_k_token_ids,
            top_k_probs=tree.top_k_probs,
        )
        verified = Verified(
            step=step,
            t_start_s=times.drafted_s,
            t_end_s=times.verified_s,
            num_rows=len(tree),
            target_probs=inspection.target_probs,
            top_k_token_ids=inspection.top_k_token_ids,
            top_k_probs=inspection.top_k_probs,
            entropies_nats=inspection.entropies_nats,
        )
        accepted = Accepted(
            step=step,
            t_start_s=times.verified_s,
            t_end_s=times.accepted_s,
            path=judgement.path,
            tested=judgement.tested,
            next_token_id=judgement.next_token_id,
            next_source=next_source,
            next_prob=inspection.next_prob,
        )
        texts = [self._text.push(token_id) for token_id in emitted]
        committed = Committed(
            step=step,
            t_start_s=times.accepted_s,
            t_end_s=times.committed_s,
            token_ids=emitted,
            texts=texts,
            sources=accepted_sources + own,
            nodes=judgement.path + [-1] * len(own),
            cache_length=self._length - len(own),
            step_s=self._clock() - times.start_s,
        )
        return drafted, verified, accepted, committed
