"""Stop strings: the answer ends before the first of them that is complete.

A stop string may begin within a token and end within another one, of this step or a later one. So text
that may be the beginning of one is held back until it is known not to be. Which stop string ends an
answer, and where, follows from the text alone, not from how tokens part it: the one that is complete
first, and of those that end together the longest.
"""

from typing import NamedTuple, Protocol


class TextStream(Protocol):
    """Turns token ids into text piece by piece."""

    def push(self, token_id: int) -> str:
        """What the token adds to the text; empty while a character is incomplete."""
        ...

    def finish(self) -> str:
        """Text of an incomplete character at the very end; usually empty."""
        ...


class Cut(NamedTuple):
    """Where an answer was ended by a stop string."""

    stop: str
    text: str
    """What was cut from the text of the emitted tokens: the stop string and what stood behind it."""


class StopText:
    """Implements `TextStream` over another one, up to a stop string."""

    def __init__(self, text: TextStream, stops: tuple[str, ...], min_new_tokens: int = 0):
        """Stop strings that end within the first `min_new_tokens` tokens are passed over."""
        self.cut: Cut | None = None
        """Set once a stop string is complete; no token is to be pushed then."""
        self._text = text
        self._stops = stops
        self._num_passed_over = min_new_tokens
        self._held = ""
        """May be the beginning of a stop string."""

    def push(self, token_id: int) -> str:
        """What the token adds to the text that is out; empty also where all of it is held back."""
        piece = self._text.push(token_id)
        self._num_passed_over -= 1
        if not self._stops or not piece:
            return piece
        text = self._held + piece
        if self._num_passed_over < 0:
            self.cut = self._first_stop(text)
        if self.cut is not None:
            self._held = ""
            return text.removesuffix(self.cut.text)
        begin = len(text) - self._num_held(text)
        self._held = text[begin:]
        return text[:begin]

    def _first_stop(self, text: str) -> Cut | None:
        """Where the new part of the text completes a stop string."""
        found = []
        for stop in self._stops:
            # What was complete before the new part has been passed over.
            begin = text.find(stop, max(0, len(self._held) - len(stop) + 1))
            if begin >= 0:
                found.append((begin + len(stop), begin, stop))
        if not found:
            return None
        _, begin, stop = min(found)
        return Cut(stop, text[begin:])

    def _num_held(self, text: str) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        longest = max(map(len, self._stops)) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(len(stop) > length and text.endswith(stop[:length]) for stop in self._stops):
                return length
        return 0

    def finish(self) -> str:
        """What was held back, and the text of an incomplete character; nothing behind a cut."""
        return "" if self.cut is not None else self._held + self._text.finish()
