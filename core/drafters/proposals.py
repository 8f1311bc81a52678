"""How a model drafter chooses the children of a node, one class for each acceptance rule's need."""

from typing import NamedTuple, Protocol

import torch

from core.config import RunConfig
from core.sampling import KeyedNoise, law_log_probs


class Proposal(NamedTuple):
    """Children for one node, best first, with the drafter's probabilities."""

    token_ids: list[int]
    probs: list[float]
    sampled_law: torch.Tensor | None = None  # [vocab]
    """The law that the children were sampled from; None where they were chosen."""


class Proposer(Protocol):
    """Chooses children from the drafter's logits."""

    def propose(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32
        positions: list[int],
        count: int,
    ) -> list[Proposal]:
        """`positions` are those of the children's tokens, one for each row."""
        ...


def _read(ids: torch.Tensor, probs: torch.Tensor) -> list[Proposal]:
    return [
        Proposal(row_ids, row_probs)
        for row_ids, row_probs in zip(ids.tolist(), probs.tolist(), strict=True)
    ]


class BestProposer:
    """The most probable tokens: for greedy targets."""

    def propose(self, logits: torch.Tensor, positions: list[int], count: int) -> list[Proposal]:
        """See `Proposer.propose`; probabilities are at temperature 1."""
        best = logits.topk(count, dim=-1)
        probs = (best.values - logits.logsumexp(dim=-1, keepdim=True)).exp()
        return _read(best.indices, probs)


class NoisyProposer:
    """The tokens that the target would draw if its law were the drafter's: for the match rule.

    The noise is the target's own, so that nearly equal laws draw nearly always the same token.
    """

    def __init__(self, config: RunConfig, vocab_size: int, device: torch.device):
        self._sampling = config.sampling
        self._noise = KeyedNoise(config.sampling.seed, vocab_size, device)

    def propose(self, logits: torch.Tensor, positions: list[int], count: int) -> list[Proposal]:
        """See `Proposer.propose`."""
        log_probs = law_log_probs(logits, self._sampling)
        noise = {position: self._noise.at(position).log_() for position in set(positions)}
        scores = log_probs - torch.stack([noise[position] for position in positions])
        ids = scores.topk(count, dim=-1).indices
        return _read(ids, log_probs.gather(-1, ids).exp())


class SamplingProposer:
    """Samples without replacement: for the rejection rule."""

    def __init__(self, config: RunConfig):
        self._sampling = config.sampling
        # Another stream than that of the acceptance tests, which must not depend on the drafts.
        self._generator = torch.Generator().manual_seed((config.sampling.seed + 1) % 2**63)

    def propose(self, logits: torch.Tensor, positions: list[int], count: int) -> list[Proposal]:
        """See `Proposer.propose`. Rows with fewer possible tokens than `count` give only those."""
        proposals = []
        for law in law_log_probs(logits, self._sampling).exp_().cpu():
            possible = min(count, int((law > 0).sum()))
            ids = torch.multinomial(law, possible, generator=self._generator)
            proposals.append(Proposal(ids.tolist(), law[ids].tolist(), law))
        return proposals


def make_proposer(config: RunConfig, vocab_size: int, device: torch.device) -> Proposer:
    """The way of choosing that fits the run's sampling and acceptance rule."""
    if config.sampling.is_greedy:
        return BestProposer()
    if config.accept == "rejection":
        return SamplingProposer(config)
    return NoisyProposer(config, vocab_size, device)
