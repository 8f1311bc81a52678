"""The weights of an EAGLE head and their arithmetic, for drafting and for training.

A row stands for a position's hidden state (the target's own, or what the head made of it) beside the
token that follows; the head says what comes after that token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from core.backends.torch.arithmetic import rms_norm
from core.backends.torch.layer import Attend, decoder_layer
from core.backends.torch.linear import Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.families.architecture import Architecture


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """A head ready to run; `core.drafters.eagle_loading` makes it of files."""

    stack: LayerStack
    """Its layers and output layer, and its embedding, which may be the target's."""
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
        return rms_norm(hidden_states, weights.target_norm, eps)
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
    stack, layer, eps = weights.stack, weights.stack.layers[0], shape.norm_eps
    embedded = stack.embedding.rows(token_ids)
    if weights.state_norm is None:
        x = weights.fuse(torch.cat([embedded, states], dim=-1))
        normed = x
    else:
        x = states
        read = [
            rms_norm(embedded, layer.input_norm, eps),
            rms_norm(states, weights.state_norm, eps),
        ]
        normed = torch.cat(read, dim=-1)
    x = decoder_layer(shape, layer, x, normed, positions, rotation, attention(layer))
    return HeadRows(x, x if weights.state_norm is None else rms_norm(x, stack.final_norm, eps))
