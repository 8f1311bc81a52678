"""One event of a server's stream in words of our own, whichever server sent it."""

import math
from typing import Any, NamedTuple

from core.attached.event_stream import StreamError

_MOST_TOKENS = 10**9


class StepCounters(NamedTuple):
    """What llama-server counts of an answer so far (`timings` of `timings_per_token`)."""

    later_s: float
    """Time behind the prompt; the same for all tokens of a step."""
    num_drafted: int
    num_accepted: int


class Chunk(NamedTuple):
    """What an event adds to the answer."""

    text: str
    token_ids: list[int]
    """Of its tokens, where the server tells them."""
    num_so_far: int | None
    """Tokens of the answer up to here."""
    num_prompt_tokens: int | None
    num_cached_tokens: int | None
    """Prompt tokens that were in the cache."""
    token_texts: list[str]
    """Of each token, where the server tells them apart."""
    target_probs: list[float]
    """Of each token, where it is told."""
    counters: StepCounters | None
    finish: str | None
    """Why the answer ended, in the server's word."""


def read_chunk(event: dict[str, Any]) -> Chunk:
    """Reads whatever fields of OpenAI's form, llama-server's and vLLM's are there.

    Raises StreamError for one that holds something else.
    """
    usage, timings = part(event, "usage"), part(event, "timings")
    choices = event.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
        raise StreamError("the server sent choices that are no list of objects")
    choice = choices[0] if choices else {}
    delta = part(choice, "delta")
    texts = (
        choice.get("text"), event.get("content"), delta.get("content"),
        delta.get("reasoning_content") or delta.get("reasoning"),
    )  # fmt: skip
    so_far = usage.get("completion_tokens", event.get("tokens_predicted"))
    prompt_tokens = usage.get("prompt_tokens", event.get("tokens_evaluated"))
    cached = part(usage, "prompt_tokens_details").get("cached_tokens", timings.get("cache_n"))
    logprobs = part(choice, "logprobs")
    return Chunk(
        text="".join(_text(text) for text in texts),
        token_texts=[_text(text) for text in logprobs.get("tokens") or []],
        target_probs=_probs(logprobs.get("token_logprobs") or []),
        token_ids=_token_ids(choice.get("token_ids") or event.get("tokens") or []),
        num_so_far=count(so_far if so_far is not None else timings.get("predicted_n")),
        num_prompt_tokens=count(prompt_tokens),
        num_cached_tokens=count(cached),
        counters=_counters(timings),
        finish=choice.get("finish_reason") or event.get("stop_type"),
    )


def part(values: dict[str, Any], name: str) -> dict[str, Any]:
    """An object inside another; empty where there is none."""
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def count(value: Any) -> int | None:
    """A count that a server may tell; raises StreamError for what is none."""
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _MOST_TOKENS:
        raise StreamError(f"the server counts {str(value)[:40]} tokens")
    return value


def seconds(milliseconds: Any) -> float:
    """A time that a server tells in milliseconds; raises StreamError for what is none."""
    is_number = type(milliseconds) in (int, float) and math.isfinite(milliseconds)
    if not is_number or not 0 <= milliseconds <= 1e12:
        raise StreamError(f"the server told a time of {str(milliseconds)[:40]} ms")
    return float(milliseconds) / 1e3


def _counters(timings: dict[str, Any]) -> StepCounters | None:
    if "predicted_ms" not in timings:
        return None
    # The two are left out as long as they are 0.
    drafted, accepted = count(timings.get("draft_n")), count(timings.get("draft_n_accepted"))
    return StepCounters(seconds(timings["predicted_ms"]), drafted or 0, accepted or 0)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise StreamError("the server sent a text that is none")
    return value.encode("utf-8", "replace").decode("utf-8")  # JSON can name halves of characters


def _probs(logprobs: list[Any]) -> list[float]:
    """Probabilities; none at all where one of them is missing."""
    if not all(type(one) in (int, float) and one <= 0 for one in logprobs):
        return []
    return [math.exp(one) for one in logprobs]


def _token_ids(values: Any) -> list[int]:
    if not isinstance(values, list) or not all(
        type(one) is int and 0 <= one < 2**31 for one in values
    ):
        raise StreamError("the server sent token ids that are none")
    return values
