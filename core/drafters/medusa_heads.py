"""Medusa's and Hydra's heads: what they compute, and their forward over rows of a tree.

The head of a depth says which token stands so far behind the root. Medusa's (Cai et al. 2024) read the
target's last state alone. Hydra's (Ankner et al. 2024) also read the embeddings of the tokens between,
the root's first, and Hydra++ has a decoder layer over the states in front of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F

from core.backends.kv_cache import HeadStates
from core.backends.row_block import RowBlock, joined, joined_positions, row_slices
from core.backends.torch.arithmetic import normalized
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.layer import decoder_layer
from core.backends.torch.linear import Linear
from core.backends.torch.weights import LayerStack
from core.drafters.eagle_weights import TargetNorm
from core.families.architecture import Architecture


class ResBlock(NamedTuple):
    """A layer whose input is added to what it makes."""

    linear: Linear
    shortcut: Linear | None
    """What the input goes through first, where the layer makes fewer numbers of it."""

    def __call__(
        self,
        x: torch.Tensor,  # [rows, width]
    ) -> torch.Tensor:
        """Returns  # [rows, hidden]."""
        added = x if self.shortcut is None else self.shortcut(x)
        return added + F.silu(self.linear(x))


class DepthHead(NamedTuple):
    """The head of a depth."""

    blocks: tuple[ResBlock, ...]
    output: Linear

    def __call__(
        self,
        x: torch.Tensor,  # [rows, width]
    ) -> torch.Tensor:
        """Returns  # [rows, vocab]."""
        for block in self.blocks:
            x = block(x)
        return self.output(x)


@dataclass(frozen=True, slots=True)
class MedusaWeights:
    """Heads ready to run; `core.drafters.medusa_loading` makes them of files."""

    heads: tuple[DepthHead, ...]
    """That of the root's children first."""
    stack: LayerStack
    """The target's embedding, and the layer in front of the heads where there is one."""
    state_layer: int
    """Of the target, whose input is read; the number of layers stands for what the last one makes."""
    target_norm: TargetNorm | None
    """The target's last norm; None for states of another layer, which are read as they are."""
    reads_tokens: bool
    hidden_size: int
    num_bytes: int


class DepthStates(HeadStates):
    """Beside the states, the depth whose head the next forward is for."""

    depth: int = 0


@dataclass(slots=True)
class _Part:
    """The rows of a block, and what comes of them."""

    block: RowBlock
    given: torch.Tensor  # [rows, width]
    depth: int
    logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))  # [rows, vocab]


class MedusaForward(TorchForward):
    """Implements `core.backends.runner.TargetForward` over rows of tokens beside what heads read in
    front of them, which come and go by a `DepthStates` of the block's cache.

    Rows of depth 0 come with states of the target and go through the layer in front of the heads.
    """

    name = "medusa"

    def __init__(self, shape: Architecture, weights: MedusaWeights, rotary: RotaryTable):
        super().__init__(shape, weights.stack, rotary)
        self.weights = weights

    def normed(
        self,
        hidden_states: torch.Tensor,  # [rows, hidden]
    ) -> torch.Tensor:
        """The target's states as the heads read them  # [rows, hidden]."""
        norm = self.weights.target_norm
        return hidden_states if norm is None else normalized(hidden_states, *norm)

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`."""
        parts = [self._part(block) for block in blocks]
        first = [part for part in parts if part.depth == 0]
        if first and self.stack.layers:
            self._through_layers(first)
        for part in parts:
            if self.weights.reads_tokens:
                embedded = self.stack.embedding.rows(part.block.token_ids)
                part.given = torch.cat([part.given, embedded], dim=-1)
            exchange = part.block.cache.head_states
            if exchange is not None:
                exchange.made = part.given
        if not want_logits:
            return None
        for depth in {part.depth for part in parts}:
            group = [part for part in parts if part.depth == depth]
            logits = self.weights.heads[depth](joined([part.given for part in group]))
            for part, rows in zip(group, row_slices([part.block for part in group]), strict=True):
                part.logits = logits[rows]
        return joined([part.logits for part in parts])

    def _part(self, block: RowBlock) -> _Part:
        exchange = block.cache.head_states
        given = None if exchange is None else exchange.given
        depth = exchange.depth if isinstance(exchange, DepthStates) else 0
        if exchange is not None:
            exchange.given = None
        if given is None:
            like = self.stack.final_norm
            given = like.new_zeros(block.num_rows, self.weights.hidden_size)
        return _Part(block, given, depth)

    def _through_layers(self, parts: Sequence[_Part]) -> None:
        blocks, eps = [part.block for part in parts], self.shape.norm_eps
        positions, spans = joined_positions(blocks), self.spans(blocks)
        rotation = self.rotary.at(positions)
        x = joined([part.given for part in parts])
        for layer in self.stack.layers:
            normed = normalized(x, layer.input_norm, eps)
            attend = self.attention(layer, spans)
            x = decoder_layer(self.shape, layer, x, normed, positions, rotation, attend)
        made = normalized(x, self.stack.final_norm, eps)
        for part, rows in zip(parts, row_slices(blocks), strict=True):
            part.given = made[rows]
