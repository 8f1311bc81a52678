"""What a trace records of the target's distributions, without moving them off the device."""

from typing import NamedTuple

import torch

from core.tree import DraftTree

# Best tokens are searched among the maxima of blocks first: one fast pass instead of a heap.
_BLOCK = 64


class Inspection(NamedTuple):
    """Lists with one entry a node, as `core.events.Verified` holds them."""

    target_probs: list[float]
    top_k_token_ids: list[list[int]]
    top_k_probs: list[list[float]]
    entropies_nats: list[float]
    next_prob: float | None
    """Probability of the target's own token after the accepted path."""


NOT_RECORDED = Inspection([], [], [], [], None)


class Inspector:
    """Reads probabilities of all nodes from logits; its buffers are kept between steps."""

    def __init__(self, top_k: int):
        self._top_k = top_k
        self._work = torch.empty(0)  # [rows, vocab]

    def inspect(
        self,
        logits: torch.Tensor,  # [num_nodes, vocab] float32
        tree: DraftTree,
        last_node: int,
        next_token_id: int | None,
    ) -> Inspection:
        """Probabilities at temperature 1, whatever the sampling settings.

        `next_token_id` is the target's own token after `last_node`, if there is one.
        """
        if self._top_k == 0:
            return NOT_RECORDED
        rows, vocab_size = logits.shape
        if self._work.shape[0] < rows or self._work.shape[-1] != vocab_size:
            self._work = torch.empty_like(logits)
        work = self._work[:rows]
        top_logits, top_ids = _top_k(logits, self._top_k)
        highest = top_logits[:, :1]  # [rows, 1]
        torch.sub(logits, highest, out=work).exp_()
        total = work.sum(dim=-1)  # [rows]
        mean_logit = torch.linalg.vecdot(work, logits) / total
        log_total = total.log() + highest[:, 0]  # [rows]
        own = next_token_id if next_token_id is not None else 0
        parents = torch.tensor([*tree.parents[1:], last_node], device=logits.device)
        tokens = torch.tensor([*tree.token_ids[1:], own], device=logits.device)
        node_log_probs = logits[parents, tokens] - log_total[parents]
        packed = torch.cat(
            [
                log_total - mean_logit,
                node_log_probs.exp(),
                (top_logits - log_total[:, None]).exp().flatten(),
            ]
        ).tolist()  # one read from the device for all numbers
        ids = top_ids.tolist()
        width = top_ids.shape[1]
        first_top = rows + tree.num_drafted + 1
        return Inspection(
            target_probs=[1.0, *packed[rows : first_top - 1]],
            top_k_token_ids=ids,
            top_k_probs=[
                packed[first_top + row * width : first_top + (row + 1) * width]
                for row in range(rows)
            ],
            # A one-hot distribution may come out a rounding below zero.
            entropies_nats=[max(0.0, value) for value in packed[:rows]],
            next_prob=packed[first_top - 1] if next_token_id is not None else None,
        )


def _top_k(
    logits: torch.Tensor,  # [rows, vocab]
    k: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids of the k largest logits of each row, best first  # [rows, k] both."""
    rows, vocab_size = logits.shape
    k = min(k, vocab_size)
    if vocab_size % _BLOCK or vocab_size // _BLOCK <= k:
        return logits.topk(k, dim=-1)
    blocks = logits.view(rows, -1, _BLOCK)
    best_blocks = blocks.amax(dim=-1).topk(k, dim=-1).indices  # [rows, k]
    inside = blocks.gather(1, best_blocks[:, :, None].expand(-1, -1, _BLOCK)).view(rows, -1)
    values, places = inside.topk(k, dim=-1)
    ids = best_blocks.gather(1, places // _BLOCK) * _BLOCK + places % _BLOCK
    return values, ids
