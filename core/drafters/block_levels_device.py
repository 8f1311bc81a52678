"""A block drafter on the device: the block is one pass, and the levels correct what it made."""

import torch

from core.acceptance.device import SequenceStates
from core.backends.cuda.attention import Rows
from core.backends.cuda.forward import DeviceForward
from core.backends.kv_cache import TreeCache
from core.backends.torch.arithmetic import normalized
from core.drafters.block_forward import BlockForward
from core.drafters.device_drafting import UnseenRows, repeated
from core.drafters.tree_growth_device import LevelRows


class BlockLevelsOnDevice:
    """Implements `core.drafters.device_drafting.DeviceDrafter`; see `BlockLevels` for the host's."""

    def __init__(
        self,
        forward: DeviceForward,
        block: BlockForward,
        cache: TreeCache,
        target_cache: TreeCache,
        num_root_rows: int,
    ):
        """`cache` is the drafter's own; `root` writes `num_root_rows` rows of context, most of which may
        stand for nothing: the block is written over them."""
        self.num_root_rows = num_root_rows
        self._forward = forward
        self._block = block
        self._cache = cache
        self._target_cache = target_cache
        weights, device = block.weights, cache.storage.device
        size = weights.block_size
        self._unseen = UnseenRows(num_root_rows, device)
        self._block_steps = torch.arange(size, device=device)
        self._sees_all = torch.ones((size, size), dtype=torch.bool, device=device)
        self._masks = torch.full((size - 1,), weights.mask_token_id, device=device)
        self._logits = torch.empty(0)  # [sequences, levels, draft_vocab] float32
        self._states = torch.empty(0)  # [sequences, levels, hidden]
        self._memory = torch.empty(0)  # [rows of the last level, rank]

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: a row for every state in the target's cache."""
        return length - num_seen

    def catch_up(self, state: SequenceStates) -> None:
        """See `DeviceDrafter.catch_up`."""
        self._write_context(state)
        self._unseen.advance(state, state.length - state.num_seen)

    def _write_context(self, state: SequenceStates) -> None:
        states = self._target_cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        layers, columns = self._block.weights.state_layers, self._unseen.columns(state)
        new = states.of(layers, states.rows.index_select(0, columns))
        self._block.write_at(self._cache, new, self._unseen.positions(state), columns)

    def root(self, state: SequenceStates) -> torch.Tensor:
        """See `DraftLevels.root`."""
        weights, sequences = self._block.weights, len(state.length)
        self._write_context(state)
        state.num_seen.copy_(state.length)
        root = state.roots()
        places = state.length[:, None] + self._block_steps
        token_ids = torch.cat([root[:, None], self._masks.expand(sequences, -1)], dim=1)
        sees_all = self._sees_all if sequences == 1 else self._sees_all.repeat(sequences, 1)
        positions, slots = places.flatten(), state.columns(places).flatten()
        logits, made = self._forward(
            Rows(
                token_ids.flatten(),
                positions,
                slots,
                state.length,
                sees_all,
                positions,
                state.origin,
            )
        )
        assert logits is not None
        skipped = weights.block_size - weights.num_drafts
        self._logits = logits.view(sequences, weights.block_size, -1)[:, skipped:]
        if weights.reads_states:
            norm, eps = self._block.stack.final_norm, self._block.shape.norm_eps
            made = made.view(sequences, weights.block_size, -1)[:, skipped:]
            self._states = normalized(made, norm, eps)
        if weights.markov is not None:
            self._memory = weights.markov.begin(sequences)
        return self._corrected(0, root[:, None])

    def level(self, state: SequenceStates, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        if self._block.weights.markov is not None:
            self._memory = self._memory.index_select(0, rows.parent_rows)
        return self._corrected(rows.level, rows.token_ids)

    def _corrected(
        self,
        level: int,
        token_ids: torch.Tensor,  # [sequences, rows]
    ) -> torch.Tensor:
        """Logits behind these tokens, whose parents' memory is kept  # [all rows, draft_vocab]."""
        weights, count = self._block.weights, token_ids.shape[1]
        logits, markov = repeated(self._logits[:, level], count), weights.markov
        if markov is None:
            return logits
        states = repeated(self._states[:, level], count) if weights.reads_states else None
        made, self._memory = markov.step(markov.rows(token_ids.flatten()), states, self._memory)
        return logits + markov.output(made).float()
