"""Cuts what a round sampled into conversations and keeps the good ones."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.train.chat_frame import ChatFrame, assistant_mask
from core.train.filters import NearDuplicates, is_broken, is_held_out, is_repetitive
from core.train.sampler import Opening, SampledRound
from core.train.shards import Conversation

_LEAST_ANSWER_TOKENS = 16
_LEAST_PROMPT_TOKENS = 4


def cut(sampled: SampledRound) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Pairs of an opening's number and the ids that it began, slot by slot.

    Numbers beyond the openings begin them again.
    """
    ids = sampled.token_ids.numpy().astype(np.int32)
    openings = sampled.openings.numpy()
    for row, opening in zip(ids, openings, strict=True):
        borders = [0, *(np.flatnonzero(np.diff(opening)) + 1).tolist(), len(row)]
        for start, end in pairwise(borders):
            yield int(opening[start]), row[start:end]


class PromptFilter:
    """Turns sampled user turns into prompts worth answering; each is given out once."""

    def __init__(self, tokenizer: Any, frame: ChatFrame, near: NearDuplicates):
        self._tokenizer = tokenizer
        self._frame = frame
        self._near = near
        self.counts: Counter[str] = Counter()

    def __call__(self, token_ids: NDArray[np.int32], num_forced: int) -> list[int] | None:
        """The prompt's ids; None where it was cut off or does not serve."""
        content = token_ids[num_forced:]
        if not len(content) or content[-1] != self._frame.answer_header[0]:
            return self._refuse("cut off")
        content = content[:-1]
        if len(content) < _LEAST_PROMPT_TOKENS:
            return self._refuse("short")
        if np.isin(content, list(self._frame.special_token_ids)).any():
            return self._refuse("special tokens")
        text = self._tokenizer.decode(content)
        if is_broken(text):
            return self._refuse("broken text")
        if is_repetitive(content):
            return self._refuse("repetition")
        if self._near(text):
            return self._refuse("near a test question")
        return [int(token_id) for token_id in content]

    def _refuse(self, reason: str) -> list[int] | None:
        """Counts why a prompt does not serve."""
        self.counts[reason] += 1
        return None


def good_conversations(
    sampled: SampledRound,
    openings: list[Opening],
    frame: ChatFrame,
    tokenizer: Any,
    near: NearDuplicates,
    held_out_share: float,
) -> tuple[list[Conversation], Counter[str]]:
    """The conversations to keep, and how many were dropped for which reason."""
    kept: list[Conversation] = []
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()
    for number, ids in cut(sampled):
        if ids.tobytes() in seen:  # asked again at temperature 0
            counts["double"] += 1
            continue
        seen.add(ids.tobytes())
        opening = openings[number % len(openings)]
        mask = assistant_mask(ids, frame)
        text = [tokenizer.decode(part) for part in _user_turns(ids, mask, frame)]
        reason = _why_not(ids, mask, frame, text, tokenizer, near)
        counts[reason or "kept"] += 1
        if reason is None:
            is_kept_out = is_held_out(text[0], held_out_share)
            kept.append(Conversation(ids, mask, opening.temperature, is_kept_out))
    return kept, counts


def _why_not(
    ids: NDArray[np.int32],
    mask: NDArray[np.bool_],
    frame: ChatFrame,
    user_turns: list[str],
    tokenizer: Any,
    near: NearDuplicates,
) -> str | None:
    answers = ids[mask]
    if len(answers) < _LEAST_ANSWER_TOKENS:
        return "short"
    content = answers[~np.isin(answers, list(frame.end_token_ids))]
    if np.isin(content, list(frame.special_token_ids)).any():
        return "special tokens"
    if is_repetitive(answers):
        return "repetition"
    if is_broken(tokenizer.decode(content[:-4])):  # the end may cut a character
        return "broken text"
    if any(near(turn) for turn in user_turns):
        return "near a test question"
    return None


def _user_turns(
    ids: NDArray[np.int32], mask: NDArray[np.bool_], frame: ChatFrame
) -> list[NDArray[np.int32]]:
    """The contents of all user turns, the first one first."""
    turns = []
    starts = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0) == -1)
    begin = len(frame.opening)
    for number, start in enumerate(starts):
        turns.append(ids[begin : start - len(frame.answer_header)])
        if number < len(ends):
            # The first id of the next header is the answer's last.
            begin = int(ends[number]) + len(frame.next_header) - 1
    return turns
