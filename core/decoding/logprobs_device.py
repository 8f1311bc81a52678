"""What a trace records of the target's distributions, without moving them off the device."""

from typing import NamedTuple

import torch

from core.backends.logit_facts import fact_tensors
from core.decoding.logprobs import Logprobs


class Facts(NamedTuple):
    """The numbers of `Logprobs` on the device, a row a node."""

    entropies: torch.Tensor  # [rows] nats
    probs: torch.Tensor  # [rows]
    """Of each node's token after its parent; of the target's own token in the root's place."""
    top_k_token_ids: torch.Tensor  # [rows, k]
    top_k_probs: torch.Tensor  # [rows, k]


def measure(
    logits: torch.Tensor,  # [rows, vocab] float32
    top_k: int,
    parents: torch.Tensor,  # [rows]
    token_ids: torch.Tensor,  # [rows]
    work: torch.Tensor,  # [rows, vocab] float32
) -> Facts:
    """Probabilities at temperature 1. The root's place holds the target's own token and the node
    that it follows; `work` is written over.

    An entropy is NaN where a logit is minus infinity; `without_infinity` comes before.
    """
    facts = fact_tensors(logits, top_k, work)
    return Facts(
        entropies=facts.entropies,
        probs=(logits[parents, token_ids] - facts.log_totals[parents]).exp(),
        top_k_token_ids=facts.top_ids,
        top_k_probs=(facts.top_logits - facts.log_totals[:, None]).exp(),
    )


def logprobs_of(
    entropies: list[float],
    probs: list[float],
    top_k_token_ids: list[list[int]],
    top_k_probs: list[list[float]],
    num_nodes: int,
    *,
    has_next: bool,
) -> Logprobs:
    """The facts of the first `num_nodes` rows, read from the device."""
    return Logprobs(
        target_probs=[1.0, *probs[1:num_nodes]],
        top_k_token_ids=top_k_token_ids[:num_nodes],
        top_k_probs=top_k_probs[:num_nodes],
        # A one-hot distribution may come out a rounding below zero.
        entropies_nats=[max(0.0, value) for value in entropies[:num_nodes]],
        next_prob=probs[0] if has_next else None,
    )
