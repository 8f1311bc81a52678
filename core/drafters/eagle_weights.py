"""The weights of an EAGLE head and their arithmetic, for drafting and for training.

A row stands for a position's hidden state (the target's own, or what the head made of it) beside the
token that follows; the head says what comes after that token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from core.backends.torch.arithmetic import normalized
from core.backends.torch.layer import Attend, decoder_layer
from core.backends.torch.linear import Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.families.architecture import Architecture


class TargetNorm(NamedTuple):
    """The norm in front of a target's output layer."""

    weight: torch.Tensor  # [hidden]
    eps: float


class PairNorms(NamedTuple):
    """Norms of what a layer for multi-token prediction joins."""

    embedding: torch.Tensor  # [hidden]
    state: torch.Tensor  # [hidden]
    state_is_first: bool


class MaskRow(NamedTuple):
    """What stands for a token that is not known yet."""

    token_id: int
    state: torch.Tensor  # [hidden]


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """A head ready to run; `core.drafters.eagle_loading` makes it of files."""

    stack: LayerStack
    """Its layers and output layer, and its embedding, which may be the target's."""
    fuse: Linear
    """EAGLE-3: hidden states of several layers to one. Before: embedding and state to one."""
    state_norm: torch.Tensor | None  # [hidden]
    """EAGLE-3's norm of the states; None for the earlier form, which has no norms but one."""
    target_ids: torch.Tensor | None  # [draft_vocab]
    """The target's id of every output; None where they are the same."""
    state_layers: tuple[int, ...]
    hidden_size: int
    target_size: int
    """Width of the target's states."""
    target_norm: TargetNorm | None = None
    """The target's last norm, which the earlier form reads its states behind."""
    fuse_norms: tuple[torch.Tensor, ...] = ()
    """Norms in front of `fuse`, each of an equal part of what it reads."""
    pair_norms: PairNorms | None = None
    """Of a layer for multi-token prediction: norms of embedding and state in front of `fuse`."""
    residual_is_normed: bool = False
    made_is_normed: bool = False
    """See `core.drafters.eagle_description.HeadDescription`."""
    mask: MaskRow | None = None
    """Of a head that drafts all its tokens in one pass (P-EAGLE)."""
    num_bytes: int = 0
    """Memory of what the head has of its own."""

    @property
    def is_usual(self) -> bool:
        """Whether it is of EAGLE-3's first form, the one that compiled backends compute."""
        is_first = not (self.residual_is_normed or self.made_is_normed)
        is_one = len(self.stack.layers) == 1 and self.mask is None
        return self.state_norm is not None and is_first and is_one


class HeadRows(NamedTuple):
    """What a head makes of rows."""

    made: torch.Tensor  # [rows, hidden]
    """States that it drafts on from."""
    normed: torch.Tensor  # [rows, hidden]
    """What its output layer reads."""


def fused(
    weights: HeadWeights,
    hidden_states: torch.Tensor,  # [rows, num_state_layers * hidden]
    eps: float,
) -> torch.Tensor:
    """The target's states as the head reads them  # [rows, hidden]."""
    if weights.target_norm is not None:
        return normalized(hidden_states, *weights.target_norm)
    if weights.fuse_norms:
        parts = hidden_states.chunk(len(weights.fuse_norms), dim=-1)
        normed = [
            normalized(part, weight, eps)
            for part, weight in zip(parts, weights.fuse_norms, strict=True)
        ]
        hidden_states = torch.cat(normed, dim=-1)
    return weights.fuse(hidden_states)


def head_rows(
    shape: Architecture,
    weights: HeadWeights,
    token_ids: torch.Tensor,  # [rows]
    states: torch.Tensor,  # [rows, hidden]
    positions: torch.Tensor,  # [rows]
    rotation: tuple[torch.Tensor, torch.Tensor],  # of the positions
    attention: Callable[[LayerWeights], Attend],
) -> HeadRows:
    """The head's layers over rows, which attend as a layer's `attention` does."""
    stack, eps = weights.stack, shape.norm_eps
    embedded, first = stack.embedding.rows(token_ids), stack.layers[0]
    if weights.pair_norms is not None:
        norms = weights.pair_norms
        pair = [normalized(embedded, norms.embedding, eps), normalized(states, norms.state, eps)]
        x = weights.fuse(torch.cat(pair[::-1] if norms.state_is_first else pair, dim=-1))
        normed = normalized(x, first.input_norm, eps)
    elif weights.state_norm is None:
        x = weights.fuse(torch.cat([embedded, states], dim=-1))
        normed = x
    else:
        state = normalized(states, weights.state_norm, eps)
        x = state if weights.residual_is_normed else states
        normed = torch.cat([normalized(embedded, first.input_norm, eps), state], dim=-1)
    for layer in stack.layers:
        if layer is not first:
            normed = normalized(x, layer.input_norm, eps)
        x = decoder_layer(shape, layer, x, normed, positions, rotation, attention(layer))
    if weights.state_norm is None and weights.pair_norms is None:
        return HeadRows(x, x)
    normed = normalized(x, stack.final_norm, eps)
    return HeadRows(normed if weights.made_is_normed else x, normed)
