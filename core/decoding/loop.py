"""The loop of every mode: prefill, then one step after the other, told as events.

Plain decoding is this loop without a drafter. It is a generator of events; to stop it, stop
iterating or raise the stop flag.
"""

from collections.abc import Callable, Generator, Sequence

from core.config import RunConfig
from core.decoding.step import Clock, DraftFailure, Stepper, StepResult
from core.decoding.stop_strings import StopText
from core.drafters.base import limits_of
from core.errors import InvalidSettingError
from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    DrafterFailed,
    Event,
    FinishReason,
    Prefilled,
    TokenSource,
    Verified,
)


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
    """One run of the loop. The stepper does the work; the loop counts tokens and tells."""

    def __init__(
        self,
        stepper: Stepper,
        config: RunConfig,
        *,
        end_token_ids: frozenset[int],
        text: StopText,
        clock: Clock,
        should_stop: Callable[[], bool],
    ):
        self._stepper = stepper
        self._config = config
        self._end_token_ids = end_token_ids
        self._text = text
        self._clock = clock
        self._should_stop = should_stop
        self._num_prompt_tokens = 0
        self._num_emitted = 0
        """Of the answer, with those that it begins with."""
        self.cut_token_ids: list[int] = []
        """Tokens of the last step that stood behind a stop string, and were not emitted."""

    def run(
        self, prompt_token_ids: list[int], given_token_ids: Sequence[int] = ()
    ) -> Generator[Event, None, FinishReason]:
        """Yields Prefilled, then four events a step; returns why the run ended.

        The answer begins with the given tokens, whose texts have been pushed: they count among its new
        ones, and may end it before the first step. Raises InvalidSettingError for an empty prompt and
        for one that fills the context.
        """
        self._num_prompt_tokens, self._num_emitted = len(prompt_token_ids), len(given_token_ids)
        known = [*prompt_token_ids, *given_token_ids]
        check_prompt(known, self._stepper.context_limit)
        try:
            yield self._prefill(known)
            reason = self._end_reason(known[-1]) if given_token_ids else None
            if reason is None and self._should_stop():
                reason = "stopped"
            step = 0
            self._go_on(reason, known[-1])
            while reason is None:
                step += 1
                resumed_s = self._clock()
                result = self._stepper.result()
                emitted = result.emitted
                # Whether another step comes may hang on the text.
                texts = self._texts_up_to_stop(emitted) if self._config.stop else None
                if texts is not None:
                    self.cut_token_ids = emitted[len(texts) :]
                    emitted = emitted[: len(texts)]
                self._num_emitted += len(emitted)
                reason = self._end_reason(emitted[-1])
                # A device works on the next step while this one is told.
                self._go_on(reason, emitted[-1])
                if texts is None:
                    texts = self._texts_up_to_stop(emitted)
                if result.draft_failure is not None:
                    yield self._drafter_failed(step, result.draft_failure, result.times.drafted_s)
                yield from self._emit(step, result, emitted, texts, resumed_s)
                if reason is None and self._should_stop():
                    reason = "stopped"
            return reason
        finally:
            self._stepper.finish()

    def _prefill(self, known_token_ids: list[int]) -> Prefilled:
        start_s = self._clock()
        longest = min(
            self._num_prompt_tokens + self._config.max_new_tokens, self._stepper.context_limit
        )
        num_reused = self._stepper.begin(known_token_ids, longest, self._should_stop)
        return Prefilled(
            step=0,
            t_start_s=start_s,
            t_end_s=self._clock(),
            num_tokens=len(known_token_ids) - 1 - num_reused,
            num_reused=num_reused,
            cache_length=len(known_token_ids) - 1,
        )

    @property
    def _length(self) -> int:
        """Tokens of prompt and output; the last one is the root of the next tree."""
        return self._num_prompt_tokens + self._num_emitted

    def _texts_up_to_stop(self, token_ids: list[int]) -> list[str]:
        """What the tokens add to the text, up to one that completes a stop string."""
        texts = []
        for token_id in token_ids:
            texts.append(self._text.push(token_id))
            if self._text.cut is not None:
                break
        return texts

    def _end_reason(self, last_token_id: int) -> FinishReason | None:
        if self._text.cut is not None:
            return "stop_string"
        if last_token_id in self._end_token_ids:
            return "eos"
        if self._num_emitted >= self._config.max_new_tokens:
            return "length"
        if self._length >= self._stepper.context_limit:
            return "context"
        return None

    def _go_on(self, reason: FinishReason | None, root_token_id: int) -> None:
        """Starts a step, where the run has not ended."""
        if reason is not None:
            return
        remaining = min(
            self._config.max_new_tokens - self._num_emitted,
            self._stepper.context_limit - self._length,
        )
        self._stepper.launch(root_token_id, limits_of(remaining))

    def _drafter_failed(self, step: int, failure: DraftFailure, at_s: float) -> DrafterFailed:
        return DrafterFailed(step=step, t_start_s=at_s, t_end_s=at_s, **failure._asdict())

    def _emit(
        self,
        step: int,
        result: StepResult,
        emitted: list[int],
        texts: list[str],
        resumed_s: float,
    ) -> tuple[Drafted, Verified, Accepted, Committed]:
        tree, judgement, logprobs = result.tree, result.judgement, result.read_logprobs()
        times = result.times
        next_source: TokenSource | None
        if judgement.next_token_id is None:
            next_source = None
        elif tree.num_drafted == 0:
            next_source = "plain"
        else:
            last_node = judgement.path[-1] if judgement.path else 0
            next_source = "recovered" if tree.children[last_node] else "bonus"
        own: list[TokenSource] = [] if next_source is None else [next_source]
        kept: TokenSource = "remembered" if tree.is_remembered else "accepted"
        drafted = Drafted(
            step=step,
            t_start_s=times.start_s,
            t_end_s=times.drafted_s,
            drafter=result.drafter,
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
            target_probs=logprobs.target_probs,
            top_k_token_ids=logprobs.top_k_token_ids,
            top_k_probs=logprobs.top_k_probs,
            entropies_nats=logprobs.entropies_nats,
        )
        accepted = Accepted(
            step=step,
            t_start_s=times.verified_s,
            t_end_s=times.accepted_s,
            path=judgement.path,
            tested=judgement.tested,
            next_token_id=judgement.next_token_id,
            next_source=next_source,
            next_prob=logprobs.next_prob,
            noises=[trial.noise for trial in judgement.trials],
            thresholds=[trial.threshold for trial in judgement.trials],
        )
        drafted_sources: list[TokenSource] = [
            "forced" if node in result.forced else kept for node in judgement.path
        ]
        sources = (drafted_sources + own)[: len(emitted)]
        nodes = (judgement.path + [-1] * len(own))[: len(emitted)]
        committed = Committed(
            step=step,
            t_start_s=times.accepted_s,
            t_end_s=times.committed_s,
            token_ids=emitted,
            texts=texts,
            sources=sources,
            nodes=nodes,
            cache_length=self._length - nodes.count(-1),
            step_s=self._clock() - resumed_s,
        )
        return drafted, verified, accepted, committed
