"""A block drafter over many anchors of packed rows at once, with gradients.

At each anchor stands a block: the anchor's token and mask tokens behind it. Its rows see each other and
the target's states strictly in front of the anchor in the same document, as in drafting, where the
anchor is the root.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from core.backends.torch.arithmetic import normalized, scaled_rows
from core.backends.torch.layer import Attend, decoder_layer, layer_heads
from core.drafters.block_forward import BlockWeights, fused_states
from core.families.architecture import Architecture

_Rotation = tuple[torch.Tensor, torch.Tensor]


class Blocks(NamedTuple):
    """Where blocks stand, and what they read beside the drafter's weights."""

    features: torch.Tensor  # [batch, length, num_state_layers * target_hidden]
    """The target's states."""
    positions: torch.Tensor  # [batch * length]
    """Of the states in their documents."""
    rotation: _Rotation
    """Of these."""
    mask: torch.Tensor  # [batch, anchors, length]
    """Additive: which states a block sees."""
    token_ids: torch.Tensor  # [batch * anchors * block_size]
    own_positions: torch.Tensor  # [batch * anchors * block_size]
    own_rotation: _Rotation


def block_states(shape: Architecture, weights: BlockWeights, blocks: Blocks) -> torch.Tensor:
    """What the output layer reads of all blocks' rows  # [batch * anchors * block_size, hidden]."""
    stack, eps = weights.stack, shape.norm_eps
    context = fused_states(weights, blocks.features.flatten(0, 1), eps)
    x = scaled_rows(shape, stack.embedding.rows(blocks.token_ids))
    for layer in stack.layers:
        heads = layer_heads(shape, layer, context, blocks.positions, blocks.rotation)
        normed = normalized(x, layer.input_norm, eps)
        x = decoder_layer(
            shape, layer, x, normed, blocks.own_positions, blocks.own_rotation,
            _attention(shape, heads[1:], blocks.mask),
        )  # fmt: skip
    return normalized(x, stack.final_norm, eps)


def _attention(
    shape: Architecture,
    context: Sequence[torch.Tensor],  # keys and values: [batch * length, kv_heads, head_dim]
    mask: torch.Tensor,  # [batch, anchors, length]
) -> Attend:
    (batch, anchors, length), kv_heads = mask.shape, shape.num_kv_heads
    far_keys, far_values = (  # [batch, kv_heads, length, head_dim] both
        part.unflatten(0, (batch, length)).transpose(1, 2) for part in context
    )

    def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        rows = len(queries) // (batch * anchors)  # of a block
        # The heads of a group are more rows of their block.
        q = queries.view(batch, anchors, rows, kv_heads, -1, shape.head_dim)
        q = q.permute(0, 3, 1, 4, 2, 5).flatten(3, 4)
        near_keys, near_values = (
            part.view(batch, anchors, rows, kv_heads, -1).permute(0, 3, 1, 2, 4)
            for part in (keys, values)
        )
        far = torch.matmul(q.flatten(2, 3), far_keys.transpose(-1, -2)).unflatten(2, (anchors, -1))
        far = far.float() * shape.scale + mask[:, None, :, None].float()
        near = torch.matmul(q, near_keys.transpose(-1, -2)).float() * shape.scale
        largest = torch.maximum(far.amax(-1, keepdim=True), near.amax(-1, keepdim=True)).detach()
        far, near = (far - largest).exp(), (near - largest).exp()
        total = far.sum(-1, keepdim=True) + near.sum(-1, keepdim=True)
        made = torch.matmul(far.to(values.dtype).flatten(2, 3), far_values).unflatten(
            2, (anchors, -1)
        )
        made = made + torch.matmul(near.to(values.dtype), near_values)
        made = (made / total).to(values.dtype).unflatten(3, (-1, rows))
        by_row: torch.Tensor = made.permute(0, 2, 4, 1, 3, 5).flatten(3, 5).flatten(0, 2)
        return by_row

    return attend
