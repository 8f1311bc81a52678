"""Drafts by a cheaper version of the target on the target's own KV cache.

Share-SD drafts with the quantized self, layer skipping with a part of the layers. Both are a
forward of their own over another stack of weights (`LeanForward.with_stack`), which shares norms,
embedding and every layer that stays as it is with the target: drafting and verifying switch between
the two by which forward they call, on one cache. What a draft writes there lies behind the
committed tokens, and the verification of the same step writes over it: the committed cache never
holds a drafter's numbers.
"""

from typing import Any

from core.drafter_settings import TreeSettings
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.draft_pass import DraftPass
from core.drafters.proposals import Proposer
from core.drafters.tree_growth import TreeGrower
from core.errors import BadLogitsError
from core.tree import DraftTree
from core.verifier import TargetForward, Verifier


class SelfDrafter:
    """Implements `core.drafters.base.ModelDrafter` over the target's verifier."""

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
        self.verifier = verifier
        self.forward = forward
        self._grower = TreeGrower(settings, proposer, draft_cost)

    @property
    def drafting_s(self) -> float:
        return self._grower.drafting_s

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`; the cache is the target's."""

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        position = self.verifier.cache.length + 1
        level_forward = DraftPass(self.verifier, [root_token_id], self.forward)
        try:
            return self._grower.grow(root_token_id, position, limits, cost, level_forward)
        except BadLogitsError:
            self.verifier.cache.wipe(self.verifier.cache.length)
            raise

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self._grower.learn(outcome)

    def follow(self, token_ids: list[int]) -> None:
        """See `ModelDrafter.follow`; the cache follows by itself."""

    def finish(self) -> None:
        """See `Drafter.finish`."""
