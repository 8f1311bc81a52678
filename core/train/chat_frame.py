"""The token ids that a chat template puts around turns, and the loss mask read off them."""

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidSettingError
from core.loading.prompts import told
from core.models.chat_encoder import ChatEncoder

# Stand where contents stand; no template changes them and no text contains them.
_FIRST, _ANSWER, _SECOND = "\u2060first\u2060", "\u2060answer\u2060", "\u2060second\u2060"


class ChatFrame(NamedTuple):
    """What stands around the contents of a chat, in ids."""

    opening: tuple[int, ...]
    """Before the first user turn's content."""
    answer_header: tuple[int, ...]
    """Between a user turn's content and the answer; its first id ends the user's turn."""
    next_header: tuple[int, ...]
    """Between an answer's content and the next user turn; its first id ends the answer."""
    end_token_ids: frozenset[int]
    """All ids that end an answer."""
    special_token_ids: frozenset[int]
    """Ids that no content holds."""

    def conversation_start(self, user_token_ids: list[int]) -> list[int]:
        """The ids up to where the first answer begins."""
        return [*self.opening, *user_token_ids, *self.answer_header]


def chat_frame(
    tokenizer: Any, end_token_ids: frozenset[int], system_prompt: str | None = None
) -> ChatFrame:
    """Reads the frame off a rendered chat; without a system prompt the template's own stands.

    Raises InvalidSettingError for a tokenizer without a chat template, for one that fails, and for
    one whose answers end with no id of their own.
    """
    template = ChatEncoder(tokenizer).template
    if template is None:
        raise InvalidSettingError(
            "the model has no chat template; give a chat model, whose own text can be sampled."
        )
    messages = [
        {"role": "user", "content": _FIRST},
        {"role": "assistant", "content": _ANSWER},
        {"role": "user", "content": _SECOND},
    ]
    if system_prompt is not None:
        messages.insert(0, {"role": "system", "content": system_prompt})
    now = datetime.now()
    with told("the model"):
        text = template.render(messages, template.style(messages, now), now, opens=False)
    before, _, rest = text.partition(_FIRST)
    header, _, rest = rest.partition(_ANSWER)
    between = rest.partition(_SECOND)[0]
    opening, answer_header, next_header = (
        # A space before content is a part of the content's first token.
        tuple(tokenizer(part.rstrip(" "), add_special_tokens=False).input_ids)
        for part in (before, header, between)
    )
    if not answer_header or not next_header or next_header[0] not in end_token_ids:
        raise InvalidSettingError(
            "the chat template ends answers with no end token of the model; give a chat model "
            "whose template closes every answer."
        )
    return ChatFrame(
        opening, answer_header, next_header, end_token_ids, frozenset(tokenizer.all_special_ids)
    )


def assistant_mask(
    token_ids: NDArray[np.int32],  # [length]
    frame: ChatFrame,
) -> NDArray[np.bool_]:
    """True at the tokens that the target wrote as answers.

    The header's tokens are the template's; the id that ends an answer is the target's own word. An
    answer may be cut off at the end of the ids.
    """
    mask = np.zeros(len(token_ids), dtype=np.bool_)
    header = np.array(frame.answer_header, dtype=token_ids.dtype)
    ends = np.flatnonzero(np.isin(token_ids, list(frame.end_token_ids)))
    # Headers of user turns are skipped: in some templates they begin like those of answers.
    position = _length_at(token_ids, 0, frame.opening)
    for start in np.flatnonzero(token_ids == header[0]):
        first = int(start) + len(header)
        if start < position or not np.array_equal(token_ids[start:first], header):
            continue
        after = ends[np.searchsorted(ends, first) :]
        end = int(after[0]) if len(after) else len(token_ids)
        mask[first : end + 1] = True
        position = end + max(1, _length_at(token_ids, end, frame.next_header))
    return mask


def _length_at(
    token_ids: NDArray[np.int32],  # [length]
    start: int,
    part: tuple[int, ...],
) -> int:
    """The length of a part that stands there; 0 where it does not."""
    is_there = token_ids[start : start + len(part)].tolist() == list(part)
    return len(part) if is_there else 0
