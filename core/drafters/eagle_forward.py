"""The forward of an EAGLE head over rows of a tree: one decoder layer on our own forward.

A row stands for a position's hidden state (the target's own, or what the head made of it) beside
the token that follows; the head says what comes after that token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.backends.cpu.forward import CpuForward
from core.backends.row_block import RowBlock, joined, joined_positions, joined_token_ids, row_slices
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.linear import Linear
from core.backends.torch.weights import LayerStack
from core.families.architecture import Architecture


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """A head ready to run; `core.drafters.eagle_loading` makes it of files."""

    stack: LayerStack
    """Its layer and output layer, with the target's embedding."""
    fuse: Linear
    """EAGLE-3: hidden states of several layers to one. Before: embedding and state to one."""
    state_norm: torch.Tensor | None  # [hidden]
    """EAGLE-3's norm of the states; None for the earlier form, which has no norms but one."""
    target_norm: torch.Tensor | None  # [hidden]
    """The target's last norm, which the earlier form reads its states behind."""
    target_ids: torch.Tensor | None  # [draft_vocab]
    """The target's id of every output; None where they are the same."""
    state_layers: tuple[int, ...]
    hidden_size: int

    @property
    def num_bytes(self) -> int:
        """Memory of what the head has of its own."""
        layer = self.stack.layers[0]
        linears = [*layer.linears().values(), self.fuse]
        if self.target_ids is not None:
            linears.append(self.stack.head)
        return sum(linear.num_bytes for linear in linears)


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
        if self.weights.target_norm is not None:
            return self.norm(hidden_states, self.weights.target_norm)
        return self.weights.fuse(hidden_states)

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
        weights, layer = self.weights, self.stack.layers[0]
        embedded = self.stack.embedding.rows(joined_token_ids(blocks))
        if weights.state_norm is None:
            x = weights.fuse(torch.cat([embedded, states], dim=-1))
            normed = x
        else:
            x = states
            normed = torch.cat(
                [self.norm(embedded, layer.input_norm), self.norm(x, weights.state_norm)], dim=-1
            )
        positions = joined_positions(blocks)
        rotation = self.rotary.at(positions)
        x = self.layer(layer, x, normed, positions, rotation, self.spans(blocks))
        if not want_logits:
            return x, None
        is_normed = weights.state_norm is not None
        return x, self.logits(self.norm(x, self.stack.final_norm) if is_normed else x)
