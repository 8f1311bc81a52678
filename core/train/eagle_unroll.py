"""Training-time test (EAGLE-3, Li et al. 2025): the head drafts on from its own hidden states.

Step 0 reads the target's fused features at every position. Step s reads what step s-1 made at the
same position, beside the token s further on. A position's rows of later steps see the first step's
rows up to that position, and of every later step only their own: as in drafting, where a path has
committed rows below it and one row a depth.
"""

from collections.abc import Sequence

import torch

from core.backends.torch.layer import Attend
from core.backends.torch.weights import LayerWeights
from core.drafters.eagle_weights import HeadRows, HeadWeights, fused, head_rows
from core.families.architecture import Architecture
from core.train.packed_forward import by_heads, by_rows


def unroll(
    shape: Architecture,
    weights: HeadWeights,
    token_ids: torch.Tensor,  # [batch, length + depth]
    features: torch.Tensor,  # [batch, length, num_features * hidden]
    positions: torch.Tensor,  # [batch * length]
    rotations: Sequence[tuple[torch.Tensor, torch.Tensor]],
    mask: torch.Tensor,  # [batch, 1, length, length] additive
) -> list[HeadRows]:
    """What the head makes in every step, rows of [batch * length].

    `token_ids` are those from the second one on; `rotations` has an entry a step, of the positions so
    much further on.
    """
    length = features.shape[1]
    states = fused(weights, features.flatten(0, 1), shape.norm_eps)
    caches: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attention(layer: LayerWeights) -> Attend:
        return lambda *heads: _attend(shape, heads, caches, mask)

    made = []
    for step, rotation in enumerate(rotations):
        ids = token_ids[:, step : step + length].flatten()
        rows = head_rows(shape, weights, ids, states, positions + step, rotation, attention)
        states = rows.made
        made.append(rows)
    return made


def _attend(
    shape: Architecture,
    heads: Sequence[torch.Tensor],  # queries, keys and values: [batch * length, heads, head_dim]
    caches: list[tuple[torch.Tensor, torch.Tensor]],
    mask: torch.Tensor,  # [batch, 1, length, length]
) -> torch.Tensor:
    """The first step's rows under the mask, and each later step's row at the same position; those of
    this step join the `caches`  # [batch * length, heads * head_dim]."""
    queries, keys, values = (by_heads(part, len(mask), shape.num_heads) for part in heads)
    caches.append((keys, values))
    keys, values = caches[0]
    scores = [torch.matmul(queries, keys.transpose(-1, -2)) * shape.scale + mask.to(queries.dtype)]
    scores += [(queries * keys).sum(-1, keepdim=True) * shape.scale for keys, _ in caches[1:]]
    weights = torch.cat(scores, dim=-1).float().softmax(dim=-1).to(values.dtype)
    length = values.shape[2]
    attended = torch.matmul(weights[..., :length], values)
    for index, (_, own) in enumerate(caches[1:], length):
        attended = attended + weights[..., index : index + 1] * own
    return by_rows(attended)
