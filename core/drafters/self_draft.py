"""Drafts by a cheaper version of the target on the target's own KV cache.

Share-SD drafts with the quantized self, layer skipping with a part of the layers. What a draft
writes into the cache lies behind the committed tokens, and the verification of the same step writes
over it: the committed cache never holds a drafter's numbers.
"""

from typing import Any

from core.config import TreeSettings
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.calibration import Calibration
from core.drafters.draft_pass import DraftPass
from core.drafters.proposals import Proposer
from core.drafters.tree_growth import DraftCosts, TreeGrower
from core.tree import DraftTree
from core.verifier import TargetForward, Verifier


class SelfDrafter:
    """Implements `core.drafters.base.Drafter` over the target's verifier."""

    def __init__(
        self,
        name: str,
        identity: dict[str, Any],
        verifier: Verifier,
        forward: TargetForward,
        settings: TreeSettings,
        proposer: Proposer,
        draft_cost: CostOfRows | None,
    ):
        """`draft_cost` is the measured cost of the cheaper forward; None for fixed sizes."""
        self.name = name
        self.identity = identity
        self._verifier = verifier
        self._forward = forward
        self._draft_cost = draft_cost
        self._calibration = Calibration()
        self._grower = TreeGrower(settings, proposer, self._calibration)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`; the cache is the target's."""

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        costs = None
        if cost is not None and self._draft_cost is not None:
            costs = DraftCosts(cost, self._draft_cost)
        position = self._verifier.cache.length + 1
        return self._grower.grow(
            root_token_id, position, limits, costs, DraftPass(self._verifier, self._forward)
        )

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self._calibration.learn(outcome)

    def finish(self) -> None:
        """See `Drafter.finish`."""
