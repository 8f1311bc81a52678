"""Texts of token ids: a stream that grows piece by piece, and single tokens by themselves."""

from typing import Any

from core.errors import InvalidSettingError, shown

_INCOMPLETE = "\ufffd"
# A character has at most four bytes, so that more pending tokens than this are no character.
_MOST_PENDING = 4


class StreamDecoder:
    """Implements `core.decoding.loop.TextStream`; its work per token does not grow with the text.

    A token alone may be a part of a character, and its text may depend on what stands before it
    (a leading space). So each piece is the difference that a token makes after the last complete
    piece.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._before: list[int] = []
        """Tokens of the last complete piece."""
        self._before_text = ""
        self._pending: list[int] = []
        self._texts: dict[tuple[int, ...], str] = {}
        """Of complete pieces by themselves, for most come again."""

    def push(self, token_id: int) -> str:
        """What the token adds to the text; empty while a character is incomplete."""
        self._pending.append(token_id)
        text = self._decode([*self._before, *self._pending])
        piece = text[len(self._before_text) :]
        if piece.endswith(_INCOMPLETE):
            if len(self._pending) < _MOST_PENDING:
                return ""
            # Loose bytes are no context: with the next ones they might read as something else.
            self._before, self._before_text = [], ""
        elif piece:  # special tokens add no text, and are no context for a next one
            self._before = self._pending
            self._before_text = self._alone(tuple(self._before))
        self._pending = []
        return piece

    def finish(self) -> str:
        """Text of an incomplete character at the very end; usually empty."""
        text = self._decode([*self._before, *self._pending])
        self._pending = []
        return text[len(self._before_text) :]

    def _alone(self, token_ids: tuple[int, ...]) -> str:
        text = self._texts.get(token_ids)
        if text is None:
            text = self._texts[token_ids] = self._decode(list(token_ids))
        return text

    def _decode(self, token_ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class TokenTable:
    """Texts of single tokens, whatever stands around them; kept once they were asked for."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        self._special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        self._byte_of = bytes_by_character() if is_byte_level(tokenizer) else None

    def text_of(self, token_id: int) -> str:
        """The token as text; bytes that are no whole character are written as <0xF0>."""
        text = self._texts.get(token_id)
        if text is None:
            text = self._texts[token_id] = self._make(token_id)
        return text

    def id_of(self, token: int | str, vocab_size: int) -> int:
        """The token with an id, or with exactly this text; raises InvalidSettingError for none and for
        several."""
        if isinstance(token, int):
            if token < vocab_size:
                return token
            raise InvalidSettingError(
                f"there is no token {token}; the target has the ids from 0 to {vocab_size - 1}."
            )
        found = [token_id for token_id in range(vocab_size) if self.text_of(token_id) == token]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidSettingError(
                f"{shown(token)} is the text of several tokens; give the id of one of them: "
                f"{', '.join(map(str, found))}."
            )
        raise InvalidSettingError(
            f"no token of the target has the text {shown(token)}; give the text of one token with the "
            "space before it, if it has one, or an id."
        )

    def _make(self, token_id: int) -> str:
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        if token is None:  # rows of the vocabulary that only fill it up
            return f"<{token_id}>"
        if token_id in self._special:
            return str(token)
        if self._byte_of is None:
            return str(token).replace("\u2581", " ")
        raw = bytes(self._byte_of[character] for character in token if character in self._byte_of)
        text = raw.decode("utf-8", "surrogateescape")
        return "".join(
            f"<0x{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else c for c in text
        )


def is_byte_level(tokenizer: Any) -> bool:
    """Whether its tokens are written in the letters of `bytes_by_character`."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return "ByteLevel" in str(getattr(backend, "decoder", ""))


def bytes_by_character() -> dict[str, int]:
    """The characters by which byte-level vocabularies write bytes (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(256 + index): byte for index, byte in enumerate(others)})
    return table
