"""Texts whose control tokens are text: what a user types, a page that is quoted, an old answer.

A mark, a character that the text does not have, is put inside every control token that is to be
text. The tokenizer then does not find it, and drops the mark before it splits the text, so that the
tokens are those of plain text. A mark between two texts keeps them from making a control token
together.
"""

import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from core.runtime.strict_json import dumps

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Unicode's noncharacters, which texts do not use, then some of a private plane.
_MARKS = (*range(0xFDD0, 0xFDF0), *range(0xF0000, 0xF1000))


class ControlTokenError(Exception):
    """A text holds a control token that cannot be written as text; the message is the token."""


def unused_mark(text: str) -> str:
    """A character that the text does not have; raises ControlTokenError where it has all."""
    for code in _MARKS:
        if chr(code) not in text:
            return chr(code)
    raise ControlTokenError(chr(_MARKS[0]))


def broken(text: str, control: re.Pattern[str], mark: str) -> str:
    """The text with a mark inside every control token; raises ControlTokenError."""

    def with_mark(found: re.Match[str]) -> str:
        if len(found[0]) == 1:
            raise ControlTokenError(found[0])
        return found[0][0] + mark + found[0][1:]

    while control.search(text):  # the rest of one may hold another
        text = control.sub(with_mark, text)
    return text


class ControlTokens:
    """The control tokens of one tokenizer, and its way to write them as text."""

    def __init__(self, tokenizer: Any, end_token_ids: Iterable[int] = ()):
        """`end_token_ids` are control tokens, whatever the tokenizer says of them."""
        self._tokenizer = tokenizer
        self._backend: Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
        self._ends = frozenset(end_token_ids)
        self._patterns: dict[frozenset[str], re.Pattern[str]] = {}
        self._markless: dict[tuple[str, str], _Markless] = {}

    def pattern(self, frame: str) -> re.Pattern[str]:
        """Finds special tokens, and the tags that a template writes: those that `frame` holds."""
        tokens = frozenset(
            token for token, is_special in self._added if is_special or _is_tag_of(frame, token)
        )
        if tokens not in self._patterns:
            longest_first = sorted(tokens, key=lambda token: (-len(token), token))
            self._patterns[tokens] = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        return self._patterns[tokens]

    @cached_property
    def _added(self) -> list[tuple[str, bool]]:
        """Tokens that are found before a text is split, and whether they are special."""
        if self._backend is None:
            return [(token, True) for token in self._tokenizer.all_special_tokens]
        return [
            (token.content, token.special or token_id in self._ends)
            for token_id, token in self._backend.get_added_tokens_decoder().items()
            if token.content.strip()  # spaces are text, whatever else they are
        ]

    def token_ids(self, text: str, marked: str, control: re.Pattern[str], mark: str) -> list[int]:
        """The ids of `marked`, which without its marks is `text`; raises ControlTokenError."""
        found, kept = _places(text, control, mark), _places(marked, control, mark)
        if found == kept:
            return list(self._tokenizer(text, add_special_tokens=False).input_ids)
        typed = sorted({token for _, token in set(found) - set(kept)})
        key = mark, control.pattern
        if key not in self._markless:
            self._markless[key] = self._without(mark, control, typed[0])
        backend, unknown = self._markless[key]
        # Where a text begins some put a space, which they would not do behind a mark.
        ids = list(backend.encode(marked.lstrip(mark), add_special_tokens=False).ids)
        for token in typed:
            # Some vocabularies merge plain text into a control token.
            place = backend.token_to_id(token)
            num_written = sum(token_id == place for token_id in ids)
            if token != unknown and num_written != sum(name == token for _, name in kept):
                raise ControlTokenError(token)
        return ids

    def _without(self, mark: str, control: re.Pattern[str], typed: str) -> "_Markless":
        """The tokenizer, which drops a mark before it splits what it found no token in."""
        from tokenizers import Tokenizer

        if self._backend is None:
            raise ControlTokenError(typed)
        parts = json.loads(self._backend.to_str())
        normalizers = [part for part in [parts["normalizer"]] if part is not None]
        for token in parts["added_tokens"]:
            if token["normalized"] and control.fullmatch(token["content"]):
                # It would be looked for again behind the normalizers, where the mark is gone.
                if normalizers:
                    raise ControlTokenError(typed)
                token["normalized"] = False
        first = {"type": "Replace", "pattern": {"String": mark}, "content": ""}
        parts["normalizer"] = {"type": "Sequence", "normalizers": [first, *normalizers]}
        parts["truncation"] = parts["padding"] = None
        model = parts["model"]
        unknown = model.get("unk_token")
        if model.get("unk_id") is not None:
            unknown = model["vocab"][model["unk_id"]][0]
        return _Markless(Tokenizer.from_str(dumps(parts)), unknown)


class _Markless(NamedTuple):
    """A tokenizer that drops a mark, and the token that stands for what it cannot write."""

    backend: "Tokenizer"
    unknown: str | None


def _is_tag_of(frame: str, token: str) -> bool:
    """Whether a template writes a token that is no plain word and no line of symbols."""
    return (
        token in frame
        and any(character.isalnum() for character in token)
        and any(not character.isalnum() and not character.isspace() for character in token)
    )


def _places(text: str, control: re.Pattern[str], mark: str) -> list[tuple[int, str]]:
    """Where control tokens stand in a text, not counting its marks."""
    places = []
    start = num_marks = 0
    for found in control.finditer(text):
        num_marks += text.count(mark, start, found.start())
        start = found.start()
        places.append((start - num_marks, found[0]))
    return places
