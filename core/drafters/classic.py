"""Classic speculation: a smaller model with the same tokenizer drafts (Leviathan et al. 2023)."""

from typing import Any

from core.config import TreeSettings
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.calibration import Calibration
from core.drafters.draft_pass import DraftPass
from core.drafters.proposals import Proposer
from core.drafters.tree_growth import DraftCosts, TreeGrower
from core.tree import DraftTree
from core.verifier import Verifier


class ClassicDrafter:
    """Implements `core.drafters.base.Drafter`; its own cache follows the accepted path."""

    name = "sd-classic"

    def __init__(
        self,
        identity: dict[str, Any],
        verifier: Verifier,
        settings: TreeSettings,
        proposer: Proposer,
        draft_cost: CostOfRows | None,
    ):
        """`verifier` is the draft model's; `draft_cost` its measured forward, None for fixed sizes."""
        self.identity = identity
        self._verifier = verifier
        self._draft_cost = draft_cost
        self._calibration = Calibration()
        self._grower = TreeGrower(settings, proposer, self._calibration)
        self._token_ids: list[int] = []
        self._pass: DraftPass | None = None

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`. A prompt beyond the draft model's context leaves it without drafts."""
        self._token_ids = prompt_token_ids.copy()
        self._pass = None
        limit = self._verifier.context_limit
        if len(prompt_token_ids) < limit:
            self._verifier.begin(prompt_token_ids, min(max_length, limit), bool)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        self._pass = None
        length = len(self._token_ids)
        room = self._verifier.context_limit - length
        if room < 1:
            return DraftTree(root_token_id)
        self._catch_up()
        self._pass = DraftPass(self._verifier)
        costs = None
        if cost is not None and self._draft_cost is not None:
            costs = DraftCosts(cost, self._draft_cost)
        limits = DraftLimits(limits.num_nodes, min(limits.depth, room))
        return self._grower.grow(root_token_id, length, limits, costs, self._pass)

    def _catch_up(self) -> None:
        """Computes accepted tokens that no draft computed, up to the root."""
        missing = self._token_ids[self._verifier.cache.length : -1]
        if missing:
            self._verifier.append(missing)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`: keeps the cache rows of the accepted path."""
        self._calibration.learn(outcome)
        if self._pass is not None and self._pass.paths:
            row_of = {path: row for row, path in enumerate(self._pass.paths)}
            accepted = tuple(outcome.tree.token_ids[node] for node in outcome.path)
            prefixes = [accepted[:count] for count in range(len(accepted) + 1)]
            rows = [row_of[prefix] for prefix in prefixes if prefix in row_of]
            self._verifier.keep_rows(rows, [outcome.tree.root_token_id, *accepted[: len(rows) - 1]])
        self._token_ids += outcome.emitted_token_ids

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._pass = None
        self._verifier.finish()
