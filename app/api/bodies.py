"""The bodies of answers, whole and in chunks, as OpenAI's interface has them.

Besides its own fields they have some of vLLM's: `token_ids`, `prompt_token_ids`, `stop_reason`, and
`metrics.speculative_decoding`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from app.api.choices import Alternative, Choice, Piece, TokenLogprob, usage
from core import __version__

FINGERPRINT = f"specdecodes-{__version__}"


class Head(NamedTuple):
    """What every body of an answer says."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str
    n: int
    """Choices of each prompt."""
    with_token_ids: bool


class Form(Protocol):
    """One of the two kinds of answers."""

    prefix: str
    """Of ids."""

    def first(self, head: Head, index: int, choice: Choice) -> dict[str, Any] | None:
        """The chunk in front of a choice's text, if there is one."""
        ...

    def step(self, head: Head, index: int, piece: Piece) -> dict[str, Any]:
        """The chunk of a step."""
        ...

    def last(self, head: Head, index: int, choice: Choice) -> dict[str, Any]:
        """The chunk that says why a choice ended."""
        ...

    def whole(
        self, head: Head, choices: Sequence[Choice], pieces: Sequence[Sequence[Piece]]
    ) -> dict[str, Any]:
        """The answer in one body."""
        ...

    def chunk(self, head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """A chunk with some choices, or with none."""
        ...


def counts(head: Head, choices: Sequence[Choice]) -> dict[str, Any]:
    """The fields that count: tokens, and what speculation did; as in vLLM, that of one choice alone."""
    told: dict[str, Any] = {"usage": usage(choices, head.n)}
    speculation = choices[0].speculation if len(choices) == 1 else None
    return {**told, "metrics": speculation and {"speculative_decoding": speculation}}


def _head(head: Head, kind: str) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "system_fingerprint": FINGERPRINT,
    }


def _joined(pieces: Sequence[Piece]) -> Piece:
    return Piece(
        "".join(piece.text for piece in pieces),
        [text for piece in pieces for text in piece.texts],
        [token_id for piece in pieces for token_id in piece.token_ids],
        [logprob for piece in pieces for logprob in piece.logprobs],
    )


class ChatForm:
    """Answers of `/v1/chat/completions`."""

    prefix = "chatcmpl-"

    def __init__(self, *, with_logprobs: bool):
        self._with_logprobs = with_logprobs

    def chunk(self, head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """See `Form.chunk`."""
        return {**_head(head, "chat.completion.chunk"), "choices": choices}

    def first(self, head: Head, index: int, choice: Choice) -> dict[str, Any] | None:
        """See `Form.first`: whose message it is."""
        chunk = self._part(head, index, {"role": "assistant", "content": ""})
        if head.with_token_ids and index % head.n == 0:
            chunk["prompt_token_ids"] = choice.prompt_token_ids
        return chunk

    def step(self, head: Head, index: int, piece: Piece) -> dict[str, Any]:
        """See `Form.step`."""
        chunk = self._part(head, index, {"content": piece.text})
        chunk["choices"][0] |= self._extras(head, piece)
        return chunk

    def last(self, head: Head, index: int, choice: Choice) -> dict[str, Any]:
        """See `Form.last`."""
        chunk = self._part(head, index, {})
        chunk["choices"][0] |= _end(choice)
        return chunk

    def _part(self, head: Head, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return self.chunk(head, [choice])

    def whole(
        self, head: Head, choices: Sequence[Choice], pieces: Sequence[Sequence[Piece]]
    ) -> dict[str, Any]:
        """See `Form.whole`."""
        told = []
        for index, choice in enumerate(choices):
            piece = _joined(pieces[index])
            message = {"role": "assistant", "content": piece.text, "refusal": None}
            told.append(
                {"index": index, "message": message, **self._extras(head, piece), **_end(choice)}
            )
        body = {**_head(head, "chat.completion"), "choices": told}
        if head.with_token_ids:
            body["prompt_token_ids"] = choices[0].prompt_token_ids
        return {**body, **counts(head, choices)}

    def _extras(self, head: Head, piece: Piece) -> dict[str, Any]:
        extras: dict[str, Any] = {"logprobs": None}
        if self._with_logprobs:
            content = [_chat_logprob(told) for told in piece.logprobs]
            extras["logprobs"] = {"content": content, "refusal": None}
        return {**extras, "token_ids": piece.token_ids} if head.with_token_ids else extras


class CompletionForm:
    """Answers of `/v1/completions`; one for each request, as it counts the characters of its choices."""

    prefix = "cmpl-"

    def __init__(self, *, with_logprobs: bool, echoes: bool):
        self._with_logprobs = with_logprobs
        self._echoes = echoes
        self._lengths: dict[int, int] = {}
        """Characters of each choice so far."""

    def chunk(self, head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """See `Form.chunk`."""
        return {**_head(head, "text_completion"), "choices": choices}

    def first(self, head: Head, index: int, choice: Choice) -> dict[str, Any] | None:
        """See `Form.first`: the prompt, where it is to be repeated or its tokens are to be told."""
        if not self._echoes and not head.with_token_ids:
            return None
        part = self._part(index, choice.prompt_text if self._echoes else "", None)
        if head.with_token_ids:
            part |= {"prompt_token_ids": choice.prompt_token_ids, "token_ids": []}
        return self.chunk(head, [part])

    def step(self, head: Head, index: int, piece: Piece) -> dict[str, Any]:
        """See `Form.step`."""
        return self.chunk(head, [self._piece(head, index, piece)])

    def last(self, head: Head, index: int, choice: Choice) -> dict[str, Any]:
        """See `Form.last`."""
        return self.chunk(head, [{**self._part(index, "", None), **_end(choice)}])

    def whole(
        self, head: Head, choices: Sequence[Choice], pieces: Sequence[Sequence[Piece]]
    ) -> dict[str, Any]:
        """See `Form.whole`."""
        told = []
        for index, choice in enumerate(choices):
            part = self._piece(head, index, _joined(pieces[index]))
            if self._echoes:
                part["text"] = choice.prompt_text + part["text"]
            if head.with_token_ids:
                part["prompt_token_ids"] = choice.prompt_token_ids
            told.append({**part, **_end(choice)})
        body = {**_head(head, "text_completion"), "choices": told}
        return {**body, **counts(head, choices)}

    def _part(self, index: int, text: str, logprobs: dict[str, Any] | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": None}

    def _piece(self, head: Head, index: int, piece: Piece) -> dict[str, Any]:
        begin = self._lengths.get(index, 0)
        self._lengths[index] = begin + len(piece.text)
        logprobs = _completion_logprobs(piece, begin) if self._with_logprobs else None
        part = self._part(index, piece.text, logprobs)
        return {**part, "token_ids": piece.token_ids} if head.with_token_ids else part


def _end(choice: Choice) -> dict[str, Any]:
    return {"finish_reason": choice.finish_reason, "stop_reason": choice.stop_reason}


def _chat_logprob(told: TokenLogprob) -> dict[str, Any]:
    best = [_described(alternative) for alternative in told.best]
    return {**_described(told.chosen), "top_logprobs": best}


def _described(alternative: Alternative) -> dict[str, Any]:
    return {
        "token": alternative.text,
        "logprob": alternative.logprob,
        "bytes": alternative.utf8,
    }


def _completion_logprobs(piece: Piece, begin: int) -> dict[str, Any]:
    """Where each token's text begins is counted from the answer's first character."""
    offsets = []
    for text in piece.texts:
        offsets.append(begin)
        begin += len(text)
    return {
        "tokens": [told.chosen.text for told in piece.logprobs],
        "token_logprobs": [told.chosen.logprob for told in piece.logprobs],
        "top_logprobs": [
            # The token itself is told whether or not it is one of the best.
            {other.text: other.logprob for other in (*reversed(told.best), told.chosen)}
            for told in piece.logprobs
        ],
        "text_offset": offsets,
    }
