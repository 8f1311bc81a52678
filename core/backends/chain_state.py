"""What a module keeps of a sequence and cannot take back: a state that only goes forward.

Keys and values lie a column for each token, so that rows can be left out of them. A state has all its
tokens in it. So copies of it are kept from before the tokens that may be refused; after a refusal the
last copy that has only seen kept tokens goes on, and the kept ones that it lacks are computed again in
front of the next rows.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple


class _Kept(NamedTuple):
    """A copy of the state, and how many tokens it has seen."""

    length: int
    state: Any


class ChainState:
    """The state of one sequence, with the tokens that it belongs to."""

    def __init__(self, fresh: Callable[[], Any]):
        """`fresh` makes a state that has seen nothing; states are copied by `copy.deepcopy`."""
        self._fresh = fresh
        self.live: Any = fresh()
        """What the module takes and changes."""
        self._token_ids: list[int] = []
        # How many tokens the live state has seen; none can be told while a forward is under way.
        self._seen: int | None = 0
        self._kept: list[_Kept] = []
        self._prompt_end: _Kept | None = None

    @property
    def num_seen(self) -> int:
        """Tokens that the live state has seen."""
        assert self._seen is not None, "go_back() comes first"
        return self._seen

    def go_back(self, start: int) -> list[int]:
        """Makes the live state one that has seen nothing from column `start` on; returns the tokens
        in front of it that the state has yet to see."""
        assert start <= len(self._token_ids), "columns are written one after the other"
        del self._token_ids[start:]
        self._kept = [kept for kept in self._kept if kept.length <= start]
        if self._prompt_end is not None and self._prompt_end.length > start:
            self._prompt_end = None
        if self._seen is None or self._seen > start:
            last = max(self._copies(), key=lambda kept: kept.length, default=None)
            self.live = self._fresh() if last is None else copy.deepcopy(last.state)
            self._seen = 0 if last is None else last.length
        return self._token_ids[self._seen :]

    def restart(self) -> list[int]:
        """Makes the live state a new one; returns all tokens."""
        self.live, self._seen = self._fresh(), 0
        return self._token_ids.copy()

    def put_off(self, token_ids: list[int]) -> None:
        """Leaves the next tokens to be seen later."""
        self._token_ids += token_ids

    def advance(self, token_ids: list[int], compute: Callable[[], Any]) -> Any:
        """What `compute` returns, which takes the live state over the tokens that come next; where
        it breaks, nothing is known of the state any more."""
        start, self._seen = self.num_seen, None
        result = compute()
        self._seen = start + len(token_ids)
        self._token_ids[start : self._seen] = token_ids
        return result

    def keep_copy(self, committed: int) -> None:
        """Keeps the live state as it is now; of those within the `committed` tokens only the last
        can be asked for."""
        behind = [kept for kept in self._kept if kept.length <= committed][-1:]
        self._kept = behind + [kept for kept in self._kept if kept.length > committed]
        if all(kept.length != self.num_seen for kept in self._copies()):
            self._kept.append(_Kept(self.num_seen, copy.deepcopy(self.live)))

    def keep_prompt(self, length: int) -> None:
        """Keeps the state behind a prompt of so many tokens, for the next one with this beginning."""
        if self._seen == length:
            self._prompt_end = _Kept(length, copy.deepcopy(self.live))

    def known(self, length: int) -> int:
        """The most tokens, `length` or fewer, behind which a state is known."""
        lengths = [kept.length for kept in self._copies()]
        if self._seen is not None:
            lengths.append(self._seen)
        return max((known for known in lengths if known <= length), default=0)

    def pretend(self, length: int) -> None:
        """Takes the live state for one behind so many tokens, where only time is measured."""
        self._seen, self._token_ids = length, [0] * length
        self._kept, self._prompt_end = [], None

    def _copies(self) -> list[_Kept]:
        return self._kept if self._prompt_end is None else [*self._kept, self._prompt_end]
