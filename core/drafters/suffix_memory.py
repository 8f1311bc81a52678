"""Answers of earlier runs, in which lookup searches as well; bounded.

As in SuffixDecoding (Oliaro et al. 2024) it holds answers, not prompts, and the oldest make room. Opens
without torch.
"""

import threading
from array import array
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.errors import InvalidSettingError

if TYPE_CHECKING:
    from core.drafters.suffix_index import SuffixIndex

# Contexts that are looked up; longer ones tell nothing more.
MAX_MATCH = 64
MAX_TOKENS = 2**17
MAX_TOKEN_ID = 2**31 - 1


class SuffixMemory:
    """May be used by several threads, copied, and sent to another process."""

    def __init__(self, max_tokens: int = MAX_TOKENS):
        self.tokenizer: str | None = None
        """The key of whose tokens it holds; None before the first run."""
        self._max_tokens = max_tokens
        self._answers: deque[array[int]] = deque()
        self._num_tokens = 0
        self._index: SuffixIndex | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return vars(self) | {"_answers": self._answers.copy(), "_index": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    @property
    def num_tokens(self) -> int:
        return self._num_tokens

    @property
    def answers(self) -> list[list[int]]:
        """Token ids of the answers that there are, oldest first."""
        with self._lock:
            return [answer.tolist() for answer in self._answers]

    def add(self, token_ids: Sequence[int]) -> None:
        """Remembers an answer; the oldest make room for it, and of a longer one its end stays."""
        kept = array("i", token_ids[-self._max_tokens :])
        if not kept:
            return
        with self._lock:
            self._answers.append(kept)
            self._num_tokens += len(kept)
            while self._num_tokens > self._max_tokens:
                self._num_tokens -= len(self._answers.popleft())
            self._index = None

    def index(self) -> "SuffixIndex":
        """What there is now, ready for the search."""
        from core.drafters.suffix_index import SuffixIndex

        with self._lock:
            if self._index is None:
                self._index = SuffixIndex(self._answers)
            return self._index

    def belong_to(self, tokenizer: str, num_token_ids: int) -> None:
        """Makes it the memory of a tokenizer, given by its key.

        Raises InvalidSettingError where it is another one's, and where it holds an id that a model with
        `num_token_ids` of them lacks.
        """
        if self.tokenizer not in (None, tokenizer):
            raise InvalidSettingError(
                "the memory holds the tokens of another tokenizer; give the model whose answers it "
                "holds, or another memory."
            )
        with self._lock:
            largest = max(map(max, self._answers), default=0)
        if largest >= num_token_ids:
            raise InvalidSettingError(
                f"the memory holds token id {largest}, and the target has {num_token_ids} ids from 0; "
                "give another memory."
            )
        self.tokenizer = tokenizer


class MemoryView:
    """What one run sees of a memory: the answers that were there when it began."""

    def __init__(self, memory: SuffixMemory):
        self._memory = memory

    @cached_property
    def index(self) -> "SuffixIndex":
        """Those answers; fixed when it is asked for first."""
        return self._memory.index()

    def to_dict(self) -> dict[str, Any]:
        """What a trace says of it."""
        return {"tokenizer": self._memory.tokenizer, **self.index.to_dict()}
