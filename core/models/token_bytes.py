"""The bytes that a tokenizer's tokens stand for, by which the vocabularies of two models are compared.

Strings of tokens would not do: byte-level vocabularies and SentencePiece's write the same bytes in
different letters.
"""

import re
from typing import Any

from core.models.detokenizer import bytes_by_character, is_byte_level

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"
_SAMPLES = ("Hello, world!  Two spaces and 12 digits.", "def f(x):\n    return x")


class TokenBytes:
    """A tokenizer whose ordinary tokens are bytes."""

    def __init__(self, tokenizer: Any):
        """Raises ValueError where its tokens do not make the bytes of a text."""
        self._tokenizer = tokenizer
        special_ids = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        table = bytes_by_character() if is_byte_level(tokenizer) else None
        self.special: dict[int, str] = {}
        """Texts of tokens that stand for no bytes."""
        self.ordinary: dict[int, bytes] = {}
        for token, token_id in tokenizer.get_vocab().items():
            if token_id in special_ids:
                self.special[token_id] = token
            else:
                found = _bytes_of(token, table)
                if found:
                    self.ordinary[token_id] = found
        for text in _SAMPLES:
            if self.bytes_of(self.encode(text)) != text.encode():
                raise ValueError("its tokens are not the bytes of a text")

    def bytes_of(self, token_ids: list[int]) -> bytes:
        """Of ordinary tokens; others add none."""
        return b"".join(self.ordinary.get(token_id, b"") for token_id in token_ids)

    def encode(self, text: str) -> list[int]:
        """Tokens of a piece of a text, without what a tokenizer puts in front of whole texts."""
        token_ids = self._encoded(text)
        if self.bytes_of(token_ids) != b" " + text.encode():
            return token_ids
        token_ids = self._encoded("\n" + text)
        made = b""
        for count, token_id in enumerate(token_ids, 1):
            made += self.ordinary.get(token_id, b"")
            if made in (b"\n", b" \n"):
                return token_ids[count:]
        return self._encoded(text)

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)


def _bytes_of(token: str, table: dict[str, int] | None) -> bytes:
    if table is not None:
        is_known = all(character in table for character in token)
        return bytes(table[character] for character in token) if is_known else b""
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()


def whole_characters(data: bytes) -> bytes:
    """Without the beginning of a character at its end."""
    for missing in range(min(3, len(data)) + 1):
        piece = data[: len(data) - missing]
        try:
            piece.decode()
        except UnicodeDecodeError as error:
            if error.end < len(piece) or error.reason != "unexpected end of data":
                return data  # no beginning of a character, whatever follows
            continue
        return piece
    return data
