"""How a draft model reads and writes for a target with another vocabulary (Timor et al. 2025, arXiv
2502.05202).

TLI: it drafts the tokens that both vocabularies have, with its distribution over these alone. Tokens are
the same where they stand for the same bytes, special ones where their texts are equal. What the target
writes in other tokens, the draft model reads in its own.
"""

import torch

from core.models.token_bytes import TokenBytes


class Vocabularies:
    """Those of a target and of its draft model."""

    def __init__(
        self, target: TokenBytes, draft: TokenBytes, num_target_ids: int, num_draft_ids: int
    ):
        """The numbers are of rows that the models have for tokens."""
        self.target, self.draft = target, draft
        self._num_draft_ids = num_draft_ids
        known: dict[bytes | str, int] = {}
        for token_id, key in _meanings(draft):
            if token_id < num_draft_ids:
                known.setdefault(key, token_id)
        self._known = known
        shared: dict[int, int] = {}  # the first of several equal ones of the target
        for token_id, key in _meanings(target):
            if key in known and token_id < num_target_ids:
                shared.setdefault(known[key], token_id)
        self.num_draft = len({*draft.ordinary, *draft.special})
        self.target_ids = torch.tensor(list(shared.values()), dtype=torch.int64)  # [shared]
        self.draft_ids = torch.tensor(list(shared), dtype=torch.int64)  # [shared]
        self._own: dict[int, tuple[int, ...]] = {}

    @property
    def num_shared(self) -> int:
        return len(self.target_ids)

    def own(self, token_id: int) -> tuple[int, ...]:
        """A target's token as the draft model reads it: its own token of the same bytes or text, else
        those that it splits them into; none where it has none."""
        found = self._own.get(token_id)
        if found is None:
            found = self._own[token_id] = self._read(token_id)
        return found

    def _read(self, token_id: int) -> tuple[int, ...]:
        data = self.target.ordinary.get(token_id)
        text = self.target.special.get(token_id)
        key = data if data is not None else text
        if key is None:
            return ()
        if key in self._known:
            return (self._known[key],)
        if data is not None:
            try:
                text = data.decode()
            except UnicodeDecodeError:  # a part of a character
                single = [self._known.get(bytes([byte])) for byte in data]
                return tuple(one for one in single if one is not None)
        assert text is not None
        return tuple(self.split(text))

    def split(self, text: str) -> list[int]:
        """A piece of text in the draft model's tokens that it has rows for."""
        return [one for one in self.draft.encode(text) if one < self._num_draft_ids]


def _meanings(tokenizer: TokenBytes) -> list[tuple[int, bytes | str]]:
    """What each token stands for, by ids."""
    found: dict[int, bytes | str] = {**tokenizer.ordinary, **tokenizer.special}
    return sorted(found.items(), key=lambda item: item[0])
