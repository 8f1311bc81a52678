"""What a trace records of the target's distributions, read from logits in the host's memory.

`core.decoding.logprobs_device` reads them where they are on a device; a test holds both equal.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
import torch

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


class LogprobsReader(Protocol):
    """Reads probabilities of all nodes from logits, at temperature 1."""

    def read_logprobs(
        self,
        logits: torch.Tensor,  # [num_nodes, vocab] float32
        tree: DraftTree,
        last_node: int,
        next_token_id: int | None,
    ) -> Logprobs:
        """`next_token_id` is the target's own token after `last_node`, if any."""
        ...


class NothingReader:
    """Implements `LogprobsReader` where nothing is recorded."""

    def read_logprobs(
        self, logits: torch.Tensor, tree: DraftTree, last_node: int, next_token_id: int | None
    ) -> Logprobs:
        """See `LogprobsReader.read_logprobs`."""
        return NOT_RECORDED


class HostLogprobsReader:
    """Implements `LogprobsReader`. A step is over sooner than a few dozen of torch's calls, so nearly
    all is numpy and plain Python; the buffer is kept between steps."""

    def __init__(self, top_k: int):
        self._top_k = top_k
        self._works: dict[torch.Size, torch.Tensor] = {}
        """Buffers by their shape: even a slice of one takes a tenth of this."""

    def read_logprobs(
        self,
        logits: torch.Tensor,  # [num_nodes, vocab] float32
        tree: DraftTree,
        last_node: int,
        next_token_id: int | None,
    ) -> Logprobs:
        """See `LogprobsReader.read_logprobs`."""
        work = self._works.get(logits.shape)
        if work is None:
            work = self._works[logits.shape] = torch.empty(logits.shape)
        # torch's exponentials are the fastest, in this function.
        probs = torch.softmax(logits, dim=-1, out=work).numpy()
        given = logits.numpy()
        top_ids = [_largest(row, self._top_k) for row in given]
        top_probs = [
            [float(row[token_id]) for token_id in ids]
            for row, ids in zip(probs, top_ids, strict=True)
        ]
        # No matrix product: those have threads of their own, which get in the way of the next forward.
        mean_logits = np.einsum("rv,rv->r", probs, given).tolist()
        if any(map(math.isnan, mean_logits)):  # the model excludes tokens
            finite = np.maximum(given, np.finfo(np.float32).min)
            mean_logits = np.einsum("rv,rv->r", probs, finite).tolist()
        entropies = [
            float(row[ids[0]]) - math.log(own_probs[0]) - mean_logit
            for row, ids, own_probs, mean_logit in zip(
                given, top_ids, top_probs, mean_logits, strict=True
            )
        ]
        drafted = zip(tree.parents[1:], tree.token_ids[1:], strict=True)
        return Logprobs(
            target_probs=[1.0, *(float(probs[parent, token_id]) for parent, token_id in drafted)],
            top_k_token_ids=top_ids,
            top_k_probs=top_probs,
            entropies_nats=[max(0.0, value) for value in entropies],  # a rounding below, at most
            next_prob=None if next_token_id is None else float(probs[last_node, next_token_id]),
        )


def _largest(
    row: np.ndarray,  # [vocab] float32
    count: int,
) -> list[int]:
    """The ids of the largest logits, best first and of equal ones the lower; so many, or all.

    They are taken out one by one, which is quicker than any sorting, and put back.
    """
    found: list[int] = []
    values: list[float] = []
    for _ in range(min(count, len(row))):
        token_id = int(row.argmax())
        if row[token_id] == -np.inf:  # nothing is left that the model does not exclude
            found += [other for other in range(len(row)) if other not in found][
                : count - len(found)
            ]
            break
        found.append(token_id)
        values.append(row[token_id])
        row[token_id] = -np.inf
    for token_id, value in zip(found, values, strict=False):
        row[token_id] = value
    return found
