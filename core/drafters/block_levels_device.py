"""A block drafter on the device: the block is one pass, and the levels correct what it made."""

import torch

from core.acceptance.device import DeviceState
from core.backends.cuda.attention import Rows
from core.backends.cuda.forward import DeviceForward
from core.backends.kv_cache import TreeCache
from core.backends.torch.arithmetic import normalized
from core.drafters.block_forward import BlockForward
from core.drafters.tree_growth_device import LevelRows


class BlockLevelsOnDevice:
    """Implements `core.drafters.device_drafting.DeviceDrafter`; see `BlockLevels` for the host's."""

    def __init__(
        self,
        forward: DeviceForward,
        block: BlockForward,
        cache: TreeCache,
        target_cache: TreeCache,
        state: DeviceState,
        num_root_rows: int,
    ):
        """`cache` is the drafter's own; `root` writes `num_root_rows` rows of context, most of which may
        stand for nothing: the block is written over them."""
        self.num_root_rows = num_root_rows
        self._forward = forward
        self._block = block
        self._cache = cache
        self._target_cache = target_cache
        self._state = state
        weights, device = block.weights, state.length.device
        size = weights.block_size
        self._context_steps = torch.arange(num_root_rows, device=device)
        self._block_steps = torch.arange(size, device=device)
        self._sees_all = torch.ones((size, size), dtype=torch.bool, device=device)
        self._masks = torch.full((size - 1,), weights.mask_token_id, device=device)
        self._logits = torch.empty(0)  # [levels, draft_vocab] float32
        self._states = torch.empty(0)  # [levels, hidden]
        self._memory = torch.empty(0)  # [rows of the last level, rank]

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: a row for every state in the target's cache."""
        return length - num_seen

    def catch_up(self) -> None:
        """See `DeviceDrafter.catch_up`."""
        self._write_context()
        self._state.num_seen += self.num_root_rows

    def _write_context(self) -> None:
        states = self._target_cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        places = self._state.num_seen + self._context_steps
        layers = self._block.weights.state_layers
        new = states.of(layers, states.rows.index_select(0, places))
        self._block.write_at(self._cache, new, places)

    def root(self) -> torch.Tensor:
        """See `DraftLevels.root`."""
        state, weights = self._state, self._block.weights
        self._write_context()
        state.num_seen.copy_(state.length)
        root = state.tokens.index_select(0, state.length)
        places = state.length + self._block_steps
        token_ids = torch.cat([root, self._masks])
        logits, made = self._forward(
            Rows(token_ids, places, places, state.length, self._sees_all, places)
        )
        assert logits is not None
        skipped = weights.block_size - weights.num_drafts
        self._logits = logits[skipped:]
        if weights.reads_states:
            norm, eps = self._block.stack.final_norm, self._block.shape.norm_eps
            self._states = normalized(made[skipped:], norm, eps)
        if weights.markov is not None:
            self._memory = weights.markov.begin(1)
        return self._corrected(0, root)

    def level(self, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        if self._block.weights.markov is not None:
            self._memory = self._memory.index_select(0, rows.parent_places)
        return self._corrected(rows.level, rows.token_ids)

    def _corrected(
        self,
        level: int,
        token_ids: torch.Tensor,  # [rows]
    ) -> torch.Tensor:
        """Logits behind these tokens, whose parents' memory is kept  # [rows, draft_vocab]."""
        logits, weights, count = self._logits[level], self._block.weights, len(token_ids)
        markov = weights.markov
        if markov is None:
            return logits.expand(count, -1)
        states = self._states[level].expand(count, -1) if weights.reads_states else None
        made, self._memory = markov.step(markov.rows(token_ids), states, self._memory)
        return logits + markov.output(made).float()
