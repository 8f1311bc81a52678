"""Suffix lookup where it has a match that pays, else a model drafter."""

from typing import Any

from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.drafters.ngram import NgramDrafter
from core.tree import DraftTree

# How fast the model drafter's measured worth follows the text.
_SMOOTHING = 0.2


class HybridDrafter:
    """Implements `core.drafters.base.Drafter` over two others."""

    def __init__(self, lookup: NgramDrafter, model: Drafter):
        self._lookup = lookup
        self._model = model
        self._last: Drafter = model
        self._cost: CostOfRows | None = None
        # Tokens that a step of the model drafter emitted, smoothed.
        self._model_tokens = 1.0

    @property
    def name(self) -> str:
        return f"hybrid: {self._last.name}"

    @property
    def identity(self) -> dict[str, Any] | None:
        return self._model.identity

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        self._model_tokens = 1.0
        self._lookup.begin(prompt_token_ids, max_length)
        self._model.begin(prompt_token_ids, max_length)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`: the lookup wins when it promises more tokens than the model gave.

        Its draft costs nothing, the model's does; so equal promises go to the lookup.
        """
        tree = self._lookup.draft(root_token_id, limits, cost)
        if tree.num_drafted and 1.0 + sum(tree.reach()) >= self._model_tokens:
            self._last = self._lookup
            return tree
        self._last = self._model
        return self._model.draft(root_token_id, limits, cost)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`; each drafter learns from its own trees alone."""
        self._lookup.commit(outcome)
        if self._last is self._model:
            self._model.commit(outcome)
            num_tokens = len(outcome.emitted_token_ids)
            self._model_tokens += _SMOOTHING * (num_tokens - self._model_tokens)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._lookup.finish()
        self._model.finish()
