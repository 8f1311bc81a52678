"""The forward of an EAGLE head over rows of a tree: one decoder layer on the lean forward.

A row stands for a position's hidden state (the target's own, or what the head made of it) beside
the token that follows; the head says what comes after that token.
"""

from dataclasses import dataclass

import torch

from core.kv_cache import TreeCache
from core.lean.forward import LeanForward, RotaryTable
from core.lean.linear import Linear
from core.lean.native.forward import MOST_ROWS, NativeForward
from core.lean.weights import LayerStack, Shape


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
        linears = [layer.qkv, layer.o, layer.gate_up, layer.down, self.fuse]
        if self.target_ids is not None:
            linears.append(self.stack.head)
        return sum(linear.num_bytes for linear in linears)


class EagleForward(LeanForward):
    """Implements `core.verifier.TargetForward`; give `given` before each call."""

    name = "eagle"

    def __init__(
        self,
        shape: Shape,
        weights: HeadWeights,
        rotary: RotaryTable,
        native: NativeForward | None = None,
    ):
        """`native` computes the same head in compiled kernels, few rows at a time."""
        super().__init__(shape, weights.stack, rotary)
        self.weights = weights
        self._native = native
        self.given: torch.Tensor | None = None  # [rows, hidden]
        """A state for each row of the next call, which takes them; without any, zeros, whose cost
        is the same."""
        self.made = torch.empty(0)  # [rows, hidden]
        """What the last call made of them."""

    def fused(
        self,
        hidden_states: torch.Tensor,  # [rows, num_state_layers * hidden]
    ) -> torch.Tensor:
        """The target's states as the head reads them  # [rows, hidden]."""
        if self.weights.target_norm is not None:
            return self.norm(hidden_states, self.weights.target_norm)
        return self.weights.fuse(hidden_states)

    def __call__(
        self,
        token_ids: torch.Tensor,  # [rows]
        positions: torch.Tensor,  # [rows]
        cache: TreeCache,
        mask: torch.Tensor | None,  # [rows, columns] additive
        *,
        want_logits: bool,
    ) -> torch.Tensor | None:
        """See `TargetForward`; logits are over the head's own vocabulary."""
        weights, layer = self.weights, self.stack.layers[0]
        states, self.given = self.given, None
        if states is None:
            like = self.stack.final_norm
            states = like.new_zeros(len(token_ids), weights.hidden_size)
        if self._native is not None and len(token_ids) <= MOST_ROWS:
            self.made = torch.empty_like(states)
            return self._native.from_states(
                token_ids, positions, cache, mask,
                given=states, made=self.made, want_logits=want_logits,
            )  # fmt: skip
        embedded = self.stack.embedding.rows(token_ids)
        if weights.state_norm is None:
            x = weights.fuse(torch.cat([embedded, states], dim=-1))
            normed = x
        else:
            x = states
            normed = torch.cat(
                [self.norm(embedded, layer.input_norm), self.norm(x, weights.state_norm)], dim=-1
            )
        rotation = self.rotary.at(positions)
        x = self.layer(layer, x, normed, rotation, cache, self.grouped_mask(mask))
        self.made = x
        if not want_logits:
            return None
        if weights.state_norm is None:
            return self.stack.head(x)
        return self.stack.head(self.norm(x, self.stack.final_norm))
