"""What the events of a run say of a choice: its text step by step, probabilities, speculation."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from core.trace.events import Event, Prefilled, RunFailed, RunFinished, RunStarted, TokenTexts
from visualize.steps import Step, StepEvents

# As the interface writes the logarithm of nothing.
NO_LOGPROB = -9999.0
_FINISH_REASONS = {"eos": "stop", "stop_string": "stop", "length": "length", "context": "length"}
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Alternative(NamedTuple):
    """A token that might have stood somewhere, and its probability there."""

    text: str
    logprob: float

    @property
    def utf8(self) -> list[int]:
        """The token's bytes, which may be a part of a character."""
        parts = _BYTE.split(self.text)  # texts and hexadecimal numbers in turn
        pieces = [
            bytes([int(part, 16)]) if index % 2 else part.encode("utf-8")
            for index, part in enumerate(parts)
        ]
        return list(b"".join(pieces))


class TokenLogprob(NamedTuple):
    """An emitted token with what the target thought of it and of others in its place."""

    chosen: Alternative
    best: list[Alternative]


class Piece(NamedTuple):
    """What a step adds to a choice."""

    text: str
    texts: list[str]
    """What each token adds to it."""
    token_ids: list[int]
    logprobs: list[TokenLogprob]
    """One for each token, where they are wanted."""


class Failure(NamedTuple):
    """Why a choice has no end."""

    message: str
    error: str
    """Name of the error's class."""


class Choice:
    """One answer, read from the events of its run as they come."""

    def __init__(self, num_logprobs: int | None):
        """`num_logprobs` alternatives are told with each token; None tells no probabilities."""
        self._num_logprobs = num_logprobs
        self._texts: dict[int, str] = {}
        self._step_events = StepEvents()
        self.prompt_token_ids: list[int] = []
        self.prompt_text = ""
        self.num_cached = 0
        """Tokens of the prompt that an earlier run left in the cache."""
        self.is_prefilled = False
        self.num_tokens = 0
        self.per_step_drafted: list[int] = []
        """Draft tokens of each step that had any."""
        self.per_step_accepted: list[int] = []
        self.finish_reason: str | None = None
        self.stop_reason: str | None = None
        """The stop string that ended it."""
        self.failure: Failure | None = None

    @property
    def is_ended(self) -> bool:
        return self.finish_reason is not None or self.failure is not None

    def add(self, event: Event) -> Piece | None:
        """Takes the next event; what it adds to the answer, if anything."""
        step = self._step_events.add(event)
        if isinstance(step, Step):
            return self._piece(step)
        match event:
            case RunStarted():
                self.prompt_token_ids = event.prompt_token_ids
                self.prompt_text = event.prompt_text
            case TokenTexts():
                self._texts.update(zip(event.token_ids, event.texts, strict=True))
            case Prefilled():
                self.num_cached, self.is_prefilled = event.num_reused or 0, True
            case RunFinished():
                return self._end(event)
            case RunFailed():
                self.failure = Failure(event.message, event.error)
        return None

    def _piece(self, step: Step) -> Piece:
        if step.num_drafted:
            self.per_step_drafted.append(step.num_drafted)
            self.per_step_accepted.append(step.num_accepted)
        event = step.committed
        self.num_tokens += len(event.token_ids)
        logprobs = [] if self._num_logprobs is None else self._logprobs(step, self._num_logprobs)
        return Piece("".join(event.texts), event.texts, event.token_ids, logprobs)

    def _end(self, event: RunFinished) -> Piece | None:
        if event.reason == "stopped":
            self.failure = Failure("The answer was stopped; ask again.", "Stopped")
            return None
        self.finish_reason = _FINISH_REASONS[event.reason]
        self.stop_reason = event.stop or None
        return Piece(event.tail_text, [], [], []) if event.tail_text else None

    def _logprobs(self, step: Step, count: int) -> list[TokenLogprob]:
        """Of a drafted token by the row of its parent in the tree, of the target's own by that of the
        last accepted node: always the target's after exactly the tokens before."""
        drafted, verified, accepted, committed = step
        told = []
        for token_id, node in zip(committed.token_ids, committed.nodes, strict=True):
            if node >= 0:
                row, prob = drafted.parents[node], verified.target_probs[node]
            else:
                row, prob = (accepted.path or [0])[-1], accepted.next_prob or 0.0
            best = zip(verified.top_k_token_ids[row], verified.top_k_probs[row], strict=True)
            alternatives = [self._alternative(other, chance) for other, chance in best]
            told.append(TokenLogprob(self._alternative(token_id, prob), alternatives[:count]))
        return told

    def _alternative(self, token_id: int, prob: float) -> Alternative:
        return Alternative(self._texts[token_id], math.log(prob) if prob > 0 else NO_LOGPROB)

    @property
    def speculation(self) -> dict[str, Any] | None:
        """In the words of vLLM, which counts the steps that had a draft; None where none had."""
        drafted, accepted = self.per_step_drafted, self.per_step_accepted
        if not drafted:
            return None
        counts = Counter(accepted)
        return {
            "mean_acceptance_length": 1 + sum(accepted) / len(accepted),
            "draft_acceptance_rate": sum(accepted) / sum(drafted),
            "acceptance_histogram": [counts[number] for number in range(max(accepted) + 1)],
            "num_spec_steps": len(drafted),
            "num_accepted_draft_tokens": sum(accepted),
            "num_draft_tokens": sum(drafted),
            "num_spec_tokens": None,  # drafts have no fixed length
            "per_step_accepted": accepted,
            "per_step_drafted": drafted,
        }


def usage(choices: Sequence[Choice], n: int) -> dict[str, Any]:
    """Tokens of a request; a prompt counts once for its `n` choices."""
    prompts = choices[::n]
    num_prompt = sum(len(choice.prompt_token_ids) for choice in prompts)
    num_answer = sum(choice.num_tokens for choice in choices)
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_answer,
        "total_tokens": num_prompt + num_answer,
        "prompt_tokens_details": {"cached_tokens": sum(choice.num_cached for choice in prompts)},
    }
