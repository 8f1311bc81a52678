"""What a trace records of the target's distributions, without moving them off the device."""

import math
from typing import NamedTuple

import torch

from core.backends.logits import BLOCK, block_maxima
from core.decoding.logprobs import HostLogprobsReader, Logprobs, LogprobsReader, NothingReader
from core.trees.tree import DraftTree


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
    top_logits, top_ids = _top_k(logits, top_k)
    highest = top_logits[:, :1]  # [rows, 1]
    torch.sub(logits, highest, out=work).exp_()
    total = work.sum(dim=-1)  # [rows]
    mean_logit = torch.linalg.vecdot(work, logits) / total
    log_total = total.log() + highest[:, 0]  # [rows]
    return Facts(
        entropies=log_total - mean_logit,
        probs=(logits[parents, token_ids] - log_total[parents]).exp(),
        top_k_token_ids=top_ids,
        top_k_probs=(top_logits - log_total[:, None]).exp(),
    )


def without_infinity(
    logits: torch.Tensor,  # [rows, vocab]
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The lowest number in place of minus infinity, which times no probability would be no number
    # [rows, vocab]"""
    return torch.clamp(logits, min=torch.finfo(logits.dtype).min, out=out)


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


class DeviceLogprobsReader:
    """Implements `LogprobsReader`; its buffer is kept between steps."""

    def __init__(self, top_k: int):
        self._top_k = top_k
        self._work = torch.empty(0)  # [rows, vocab]

    def read_logprobs(
        self,
        logits: torch.Tensor,  # [num_nodes, vocab] float32
        tree: DraftTree,
        last_node: int,
        next_token_id: int | None,
    ) -> Logprobs:
        """See `LogprobsReader.read_logprobs`."""
        rows, vocab_size = logits.shape
        if self._work.shape[0] < rows or self._work.shape[-1] != vocab_size:
            self._work = torch.empty_like(logits)
        own = next_token_id if next_token_id is not None else 0
        parents = torch.tensor([last_node, *tree.parents[1:]], device=logits.device)
        tokens = torch.tensor([own, *tree.token_ids[1:]], device=logits.device)
        work = self._work[:rows]
        facts = measure(logits, self._top_k, parents, tokens, work)
        # One read from the device for all numbers.
        floats = torch.cat([facts.entropies, facts.probs, facts.top_k_probs.flatten()]).tolist()
        if any(map(math.isnan, floats[:rows])):  # the model excludes tokens
            facts = measure(without_infinity(logits), self._top_k, parents, tokens, work)
            floats[:rows] = facts.entropies.tolist()
        ids = facts.top_k_token_ids.tolist()
        width = len(ids[0])
        tops = [floats[start : start + width] for start in range(2 * rows, len(floats), width)]
        return logprobs_of(
            floats[:rows],
            floats[rows : 2 * rows],
            ids,
            tops,
            rows,
            has_next=next_token_id is not None,
        )


def _top_k(
    logits: torch.Tensor,  # [rows, vocab]
    k: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids of the k largest logits of each row, best first  # [rows, k] both."""
    rows, vocab_size = logits.shape
    k = min(k, vocab_size)
    if vocab_size % BLOCK or vocab_size // BLOCK <= k or not logits.is_contiguous():
        return logits.topk(k, dim=-1)
    best_blocks = block_maxima(logits).topk(k, dim=-1).indices  # [rows, k]
    blocks = logits.view(rows, -1, BLOCK)
    inside = blocks.gather(1, best_blocks[:, :, None].expand(-1, -1, BLOCK)).view(rows, -1)
    values, places = inside.topk(k, dim=-1)
    ids = best_blocks.gather(1, places // BLOCK) * BLOCK + places % BLOCK
    return values, ids


def make_logprobs_reader(top_k: int, device: torch.device) -> LogprobsReader:
    """What reads logits on the device; nothing is recorded with no `top_k`."""
    if top_k == 0:
        return NothingReader()
    return HostLogprobsReader(top_k) if device.type == "cpu" else DeviceLogprobsReader(top_k)
