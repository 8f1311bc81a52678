"""The forward of an EAGLE head over rows of a tree, on our own forward."""

from collections.abc import Sequence
from functools import partial

import torch

from core.backends.cpu.forward import CpuForward
from core.backends.row_block import RowBlock, joined, joined_positions, joined_token_ids, row_slices
from core.backends.torch.arithmetic import bounded_logits
from core.backends.torch.forward import RotaryTable, TorchForward
from core.drafters.eagle_weights import HeadWeights, fused, head_rows
from core.families.architecture import Architecture


class EagleForward(TorchForward):
    """Implements `core.backends.runner.TargetForward`; states come and go by `TreeCache.head_states`."""

    name = "eagle"

    def __init__(
        self,
        shape: Architecture,
        weights: HeadWeights,
        rotary: RotaryTable,
        on_cpu: CpuForward | None = None,
    ):
        """`on_cpu` computes the same head in compiled kernels, few rows at a time."""
        super().__init__(shape, weights.stack, rotary)
        self.weights = weights
        self.state_norm, self.state_size = weights.state_norm, weights.hidden_size
        self._on_cpu = on_cpu

    def fused(
        self,
        hidden_states: torch.Tensor,  # [rows, num_state_layers * hidden]
    ) -> torch.Tensor:
        """The target's states as the head reads them  # [rows, hidden]."""
        return fused(self.weights, hidden_states, self.shape.norm_eps)

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`; logits are over the head's own vocabulary."""
        states = self._take_given(blocks)
        if self._on_cpu is not None:
            made = torch.empty_like(states)
            logits = self._on_cpu.from_states(
                blocks, given=states, made=made, want_logits=want_logits
            )
        else:
            made, logits = self._computed(blocks, states, want_logits)
        for rows, block in zip(row_slices(blocks), blocks, strict=True):
            if block.cache.head_states is not None:
                block.cache.head_states.made = made[rows]
        return logits

    def _take_given(self, blocks: Sequence[RowBlock]) -> torch.Tensor:
        """States of all rows; each block's are used up  # [rows, hidden]."""
        parts = []
        for block in blocks:
            exchange = block.cache.head_states
            states = None if exchange is None else exchange.given
            if exchange is not None:
                exchange.given = None
            if states is None:
                like = self.stack.final_norm
                states = like.new_zeros(block.num_rows, self.weights.hidden_size)
            parts.append(states)
        return joined(parts).contiguous()

    def _computed(
        self,
        blocks: Sequence[RowBlock],
        states: torch.Tensor,  # [rows, hidden]
        want_logits: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the head makes of the rows, and logits where they are wanted."""
        positions, spans = joined_positions(blocks), self.spans(blocks)
        rows = head_rows(
            self.shape, self.weights, joined_token_ids(blocks), states, positions,
            self.rotary.at(positions), partial(self.attention, spans=spans),
        )  # fmt: skip
        if not want_logits:
            return rows.made, None
        return rows.made, bounded_logits(self.shape, self.stack.head(rows.normed))
