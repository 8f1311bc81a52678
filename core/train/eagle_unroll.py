"""Training-time test (EAGLE-3, Li et al. 2025): the head drafts on from its own hidden states.

Step 0 reads the target's fused features at every position. Step s reads what step s-1 made at the
same position, beside the token s further on. A position's rows of later steps see the first step's
rows up to that position, and of every later step only their own: as in drafting, where a path has
committed rows below it and one row a depth.
"""

import torch
import torch.nn.functional as F

from core.drafters.eagle_head import EagleHead
from core.train.batched_llama import Rotation, norm, rotate


def unroll(
    head: EagleHead,
    embeddings: torch.Tensor,  # [batch, length + depth, hidden]
    features: torch.Tensor,  # [batch, length, num_features * hidden]
    rotation: Rotation,  # of length + depth positions
    mask: torch.Tensor,  # [batch, 1, length, length] additive
    depth: int,
) -> list[torch.Tensor]:
    """Hidden states of every step, which `head_logits` reads  # [batch, length, hidden] each.

    `embeddings` are those of the tokens from the second one on.
    """
    length = features.shape[1]
    x = head.fc(features)
    caches: list[tuple[torch.Tensor, torch.Tensor]] = []
    states = []
    for step in range(depth):
        here = Rotation(*(table[:, :, step : step + length] for table in rotation))
        x = _layer(head, embeddings[:, step : step + length], x, here, mask, caches)
        states.append(x)
    return states


def head_logits(head: EagleHead, state: torch.Tensor) -> torch.Tensor:
    """Logits over the draft vocabulary  # [..., draft_vocab]."""
    logits: torch.Tensor = head.lm_head(norm(state, head.norm.weight, head.shape.norm_eps))
    return logits


def _layer(
    head: EagleHead,
    embeddings: torch.Tensor,  # [batch, length, hidden]
    x: torch.Tensor,  # [batch, length, hidden]
    rotation: Rotation,
    mask: torch.Tensor,
    caches: list[tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    layer, shape = head.midlayer, head.shape
    batch, length, _ = x.shape
    both = torch.cat(
        [
            norm(embeddings, layer.input_layernorm.weight, shape.norm_eps),
            norm(x, layer.hidden_norm.weight, shape.norm_eps),
        ],
        dim=-1,
    )
    groups = shape.num_heads // shape.num_kv_heads

    def heads(projection: torch.nn.Module) -> torch.Tensor:
        projected: torch.Tensor = projection(both)
        return projected.view(batch, length, -1, shape.head_dim).transpose(1, 2)

    queries = rotate(heads(layer.self_attn.q_proj), rotation)
    keys = rotate(heads(layer.self_attn.k_proj), rotation).repeat_interleave(groups, dim=1)
    values = heads(layer.self_attn.v_proj).repeat_interleave(groups, dim=1)
    caches.append((keys, values))
    attended = _attend(queries, caches, mask, shape.head_dim**-0.5)
    x = x + layer.self_attn.o_proj(attended.transpose(1, 2).reshape(batch, length, -1))
    normed = norm(x, layer.post_attention_layernorm.weight, shape.norm_eps)
    gated = F.silu(layer.mlp.gate_proj(normed)) * layer.mlp.up_proj(normed)
    result: torch.Tensor = x + layer.mlp.down_proj(gated)
    return result


def _attend(
    queries: torch.Tensor,  # [batch, heads, length, head_dim]
    caches: list[tuple[torch.Tensor, torch.Tensor]],
    mask: torch.Tensor,  # [batch, 1, length, length]
    scale: float,
) -> torch.Tensor:
    """The first step's rows under the mask, and each later step's row at the same position."""
    keys, values = caches[0]
    scores = [torch.matmul(queries, keys.transpose(-1, -2)) * scale + mask.to(queries.dtype)]
    scores += [(queries * keys).sum(-1, keepdim=True) * scale for keys, _ in caches[1:]]
    weights = torch.cat(scores, dim=-1).float().softmax(dim=-1).to(values.dtype)
    length = values.shape[2]
    attended = torch.matmul(weights[..., :length], values)
    for index, (_, own) in enumerate(caches[1:], length):
        attended = attended + weights[..., index : index + 1] * own
    return attended
