"""Drafts of what a constraint forces: where only one token may come, no model need be asked.

What is forced is sure to be kept, so a chain of it goes before whatever else would be drafted there.
"""

from typing import Any

from core.acceptance.constraint import Constraint
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.drafters.tree_size import best_size
from core.trees.tree import DraftTree


class ForcedDrafter:
    """Implements `core.drafters.base.Drafter`: forced tokens where there are any, else the inner
    drafter's tree."""

    device_form = None

    def __init__(self, inner: Drafter, constraint: Constraint):
        self._inner = inner
        self._constraint = constraint
        self._is_forced = False

    @property
    def name(self) -> str:
        """See `Drafter.name`."""
        return "constraint" if self._is_forced else self._inner.name

    @property
    def identity(self) -> dict[str, Any] | None:
        """See `Drafter.identity`."""
        return self._inner.identity

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        self._is_forced = False
        self._inner.begin(prompt_token_ids, max_length)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        token_ids = self._constraint.forced(min(limits.depth, limits.num_nodes))
        if cost is not None:
            token_ids = token_ids[: best_size([1.0] * len(token_ids), cost)]
        self._is_forced = bool(token_ids)
        if not token_ids:
            return self._inner.draft(root_token_id, limits, cost)
        tree = DraftTree(root_token_id)
        for node, token_id in enumerate(token_ids):
            tree.add(node, token_id, 1.0)
        return tree

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`; the inner drafter learns from its own trees alone."""
        if self._is_forced:
            self._inner.follow(outcome.emitted_token_ids)
        else:
            self._inner.commit(outcome)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`."""
        self._inner.follow(token_ids)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._inner.finish()
