"""Medusa's and Hydra's heads on the device, on the target's last state."""

import torch

from core.acceptance.device import SequenceStates
from core.backends.kv_cache import TreeCache
from core.drafters.device_drafting import repeated
from core.drafters.medusa_heads import MedusaForward
from core.drafters.tree_growth_device import LevelRows


class MedusaLevelsOnDevice:
    """Implements `core.drafters.device_drafting.DeviceDrafter` for heads without a layer in front."""

    num_root_rows = 1

    def __init__(self, forward: MedusaForward, target_cache: TreeCache):
        self._heads = forward
        self._target_cache = target_cache
        self._read = torch.empty(0)  # [rows of the last level, width]: what their heads have read

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: the last state alone."""
        return min(length, 1)

    def catch_up(self, state: SequenceStates) -> None:
        """See `DeviceDrafter.catch_up`; the target's verification has done it."""

    def root(self, state: SequenceStates) -> torch.Tensor:
        """See `DraftLevels.root`."""
        states, last = self._target_cache.hidden_states, state.columns(state.length - 1)
        assert states is not None, "the target's cache keeps them"
        layers = (self._heads.weights.state_layer,)
        self._read = self._heads.normed(states.of(layers, states.rows.index_select(0, last)))
        self._read = self._with_tokens(state.roots())
        return self._heads.weights.heads[0](self._read).float()

    def level(self, state: SequenceStates, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        weights = self._heads.weights
        if weights.reads_tokens:
            self._read = self._read.index_select(0, rows.parent_rows)
            self._read = self._with_tokens(rows.token_ids.flatten())
            return weights.heads[rows.level](self._read).float()
        logits = weights.heads[rows.level](self._read).float()
        return repeated(logits, rows.token_ids.shape[1])

    def _with_tokens(
        self,
        token_ids: torch.Tensor,  # [rows]
    ) -> torch.Tensor:
        """What heads read of the rows, with the embeddings behind it where they read those."""
        if not self._heads.weights.reads_tokens:
            return self._read
        return torch.cat([self._read, self._heads.stack.embedding.rows(token_ids)], dim=-1)
