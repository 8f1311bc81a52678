"""What a trace records of the target's distributions.

`core.decoding.logprobs_device` has the form for steps that a device does alone; a test holds both
equal.
"""

import math
from typing import NamedTuple

import torch

from core.backends.logits import LogitFacts
from core.trees.tree import DraftTree


class Logprobs(NamedTuple):
    """Lists with one entry a node, as `core.trace.events.Verified` holds them."""

    target_probs: list[float]
    top_k_token_ids: list[list[int]]
    top_k_probs: list[list[float]]
    entropies_nats: list[float]
    next_prob: float | None
    """Probability of the target's own token after the accepted path."""


NOT_RECORDED = Logprobs([], [], [], [], None)


def logprobs_from(
    facts: LogitFacts,
    logits: torch.Tensor,  # [num_nodes, vocab] float32
    tree: DraftTree,
    last_node: int,
    next_token_id: int | None,
) -> Logprobs:
    """Probabilities of all nodes at temperature 1. `facts` are those of `logits`; `next_token_id` is
    the target's own token after `last_node`, if any."""

    def prob(node: int, token_id: int) -> float:
        if token_id in facts.top_ids[node]:  # where no logit need be looked up
            return facts.top_probs[node][facts.top_ids[node].index(token_id)]
        return math.exp(float(logits[node, token_id]) - facts.log_totals[node])

    drafted = zip(tree.parents[1:], tree.token_ids[1:], strict=True)
    return Logprobs(
        target_probs=[1.0, *(prob(parent, token_id) for parent, token_id in drafted)],
        top_k_token_ids=facts.top_ids,
        top_k_probs=facts.top_probs,
        # A one-hot distribution may come out a rounding below zero.
        entropies_nats=[max(0.0, value) for value in facts.entropies],
        next_prob=None if next_token_id is None else prob(last_node, next_token_id),
    )
