"""The stream of a completion endpoint in OpenAI's form, and what is counted in it."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from core.benchmark.measurement import Emission


class StreamError(Exception):
    """A stream that does not say what is needed; the message says what is missing."""


class _Arrival(NamedTuple):
    t_s: float
    num_so_far: int | None
    """Tokens of the answer so far; None where the server does not tell them on the way."""


def lines_of_stream(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces; \\n alone ends one, for JSON may hold other ends."""
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from lines
    if rest:
        yield rest


def parse_event(line: str) -> dict[str, Any] | None:
    """The object of a line of server-sent events; None for lines that hold none.

    Raises StreamError for an error of the server and for what is no JSON object.
    """
    if not line.startswith("data:"):
        return None
    body = line.removeprefix("data:").strip()
    if body == "[DONE]":
        return None
    try:
        values = json.loads(body)
    except ValueError as error:
        raise StreamError("the server sent an event that is not JSON") from error
    if not isinstance(values, dict):
        raise StreamError("the server sent an event that is no JSON object")
    if "error" in values:
        raise StreamError(f"the server failed: {error_message(values)}")
    return values


def error_message(values: dict[str, Any]) -> str:
    """What a server says of its failure."""
    error = values.get("error", values)
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)


class StreamCounter:
    """Text, tokens and their times of one answer, out of the events of its stream.

    How many tokens there are is what the server says; how many an event holds as well, where it
    says so (`usage` in every event, or llama-server's `timings`). Else the first event with text
    counts as one token and all others as coming with the last: the pace of an answer is the same.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.num_prompt_tokens: int | None = None
        self._total: int | None = None
        self._arrivals: list[_Arrival] = []

    def add(self, event: dict[str, Any], t_s: float) -> None:
        """`t_s` is when it came, in seconds since the request."""
        usage = event.get("usage") or {}
        so_far = usage.get("completion_tokens")
        if so_far is not None:
            self._total = int(so_far)
            self.num_prompt_tokens = usage.get("prompt_tokens")
        else:
            so_far = (event.get("timings") or {}).get("predicted_n")
        text = "".join(choice.get("text") or "" for choice in event.get("choices") or [])
        if text:
            self.texts.append(text)
            self._arrivals.append(_Arrival(t_s, so_far))

    def emissions(self) -> list[Emission]:
        """All tokens of the answer; raises StreamError where the server told no numbers."""
        if self._total is None:
            raise StreamError("the server told no usage figures, by which its tokens are counted")
        if not self._arrivals:
            return []
        return list(self._emissions(self._total))

    def _emissions(self, total: int) -> Iterator[Emission]:
        first, *others = self._arrivals
        if not others:
            yield Emission(first.t_s, total)
            return
        counted = first.num_so_far or 1
        yield Emission(first.t_s, counted)
        for place, arrival in enumerate(others, start=1):
            # A token that has no text, such as the end, comes with no event of its own.
            is_last = place == len(others)
            so_far = total if is_last else arrival.num_so_far or counted
            yield Emission(arrival.t_s, so_far - counted)
            counted = so_far
