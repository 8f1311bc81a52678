"""How a model drafter chooses the children of a node, one class for each acceptance rule's need."""

import math

import torch

from core.acceptance.corrections import Corrections
from core.acceptance.registry import rules
from core.acceptance.sampling import first_in_race, keyed_noise, log_probs_under, stream_seed
from core.backends.logit_facts import best_first, facts_of
from core.backends.logits import bad_logits, first_argmax
from core.config import RunConfig
from core.drafters.tree_growth import Chooser, DraftRows, Proposal

# Proposals draw from another stream than the acceptance tests, which must not depend on them.
_STREAM = 0x5DEECE66D


# By logits  # [rows, vocab] float32.
Proposer = Chooser[torch.Tensor]


def _read(ids: list[list[int]], probs: list[list[float]], positions: list[int]) -> list[Proposal]:
    """Tokens that have a probability; the best of a row always has, unless its logits are none."""
    proposals = []
    rows = zip(ids, probs, positions, strict=True)
    for row_ids, row_probs, position in rows:
        if not all(map(math.isfinite, row_probs)):
            raise bad_logits("drafter", position)
        kept = [index for index, prob in enumerate(row_probs) if prob > 0.0] or [0]
        proposals.append(
            Proposal([row_ids[index] for index in kept], [row_probs[index] for index in kept])
        )
    return proposals


class BestProposer:
    """The most probable tokens: for greedy targets."""

    prob_is_chance = True

    def propose(self, logits: torch.Tensor, rows: DraftRows, count: int) -> list[Proposal]:
        """See `Chooser.propose`; probabilities are at temperature 1, and tokens without any are
        left out."""
        facts = facts_of(logits, count)
        return _read(facts.top_ids, facts.top_probs, rows.positions)

    def choose(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32
        count: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same on a device: ids and probabilities, best first  # [rows, count] both."""
        ids, values = best_first(logits, count)
        return ids, (values - logits.logsumexp(dim=-1, keepdim=True)).exp()


class NoisyProposer:
    """The tokens that the target would draw if its probabilities were the drafter's: for the match rule.

    The noise is the target's own, so that nearly equal probabilities draw nearly always the same token.
    """

    prob_is_chance = False

    def __init__(self, config: RunConfig, vocab_size: int, device: torch.device):
        self._sampling = config.sampling
        self._noise = keyed_noise(config.sampling.seed, vocab_size, device)

    def propose(self, logits: torch.Tensor, rows: DraftRows, count: int) -> list[Proposal]:
        """See `Chooser.propose`. Tokens that the drafter excludes are left out."""
        log_noise = [self._noise.log_at(position) for position in rows.positions]
        drawn = first_in_race(logits, log_noise, self._sampling, count)
        if drawn is not None:
            chances = [[math.exp(log_prob) for log_prob in row] for row in drawn.log_probs]
            return _read(drawn.ids, chances, rows.positions)
        ids, probs = self.choose(logits, torch.stack(log_noise), count)
        return _read(ids.tolist(), probs.tolist(), rows.positions)

    def choose(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32
        log_noise: torch.Tensor,  # [rows or 1, vocab]
        count: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and probabilities, best first; what is excluded has probability zero.

        Returns [rows, count] both.
        """
        log_probs = log_probs_under(logits, self._sampling)
        scores = log_probs - log_noise
        if count == 1:
            ids = first_argmax(scores)[:, None]
        else:
            ids = scores.topk(min(count, logits.shape[-1]), dim=-1).indices
        return ids, log_probs.gather(-1, ids).exp()


class SamplingProposer:
    """Samples without replacement: for the rejection rule."""

    prob_is_chance = False

    def __init__(self, config: RunConfig, num_given: int):
        self._sampling = config.sampling
        seed = stream_seed(config.sampling.seed, num_given)
        self._generator = torch.Generator().manual_seed(seed ^ _STREAM)

    def propose(self, logits: torch.Tensor, rows: DraftRows, count: int) -> list[Proposal]:
        """See `Chooser.propose`; the order of the children is that of the draws.

        Rows with fewer possible tokens than `count` give only those.
        """
        proposals = []
        all_probs = log_probs_under(logits, self._sampling).exp_().cpu()
        for probs, position in zip(all_probs, rows.positions, strict=True):
            possible = min(count, int((probs > 0).sum()))
            if possible == 0:  # probabilities of NaN
                raise bad_logits("drafter", position)
            ids = torch.multinomial(probs, possible, generator=self._generator)
            proposals.append(Proposal(ids.tolist(), probs[ids].tolist(), probs))
        return proposals


class CorrectedProposer:
    """Chooses as the target would with the drafter's probabilities: by logits that the run's penalties,
    biases and banned ends change as they change the target's."""

    def __init__(self, inner: Proposer, corrections: Corrections):
        self.prob_is_chance = inner.prob_is_chance
        self._inner = inner
        self._corrections = corrections

    def propose(self, logits: torch.Tensor, rows: DraftRows, count: int) -> list[Proposal]:
        """See `Chooser.propose`."""
        corrected = self._corrections.corrected(logits, rows.tree, rows.nodes)
        # A constraint may allow none of the tokens that the drafter has; what it drafts is then refused.
        is_empty = corrected.amax(dim=-1, keepdim=True) == -torch.inf
        corrected = torch.where(is_empty, logits, corrected)
        return self._inner.propose(corrected, rows, count)


class ReducedProposer:
    """Children from logits over a part of the vocabulary, told by the target's ids."""

    def __init__(
        self,
        inner: Proposer,
        target_ids: torch.Tensor,  # [draft_vocab]
        vocab_size: int,
    ):
        self.prob_is_chance = inner.prob_is_chance
        self._inner = inner
        self._target_ids = target_ids
        self._vocab_size = vocab_size

    def propose(self, logits: torch.Tensor, rows: DraftRows, count: int) -> list[Proposal]:
        """See `Chooser.propose`  # logits: [rows, draft_vocab]."""
        if isinstance(self._inner, BestProposer):
            return [
                Proposal(self._target_ids[proposal.token_ids].tolist(), proposal.probs)
                for proposal in self._inner.propose(logits, rows, count)
            ]
        # Noise, sampled distributions and corrections are of the whole vocabulary.
        whole = logits.new_full((len(logits), self._vocab_size), -torch.inf)
        whole[:, self._target_ids] = logits
        return self._inner.propose(whole, rows, count)


def make_proposer(
    config: RunConfig, vocab_size: int, device: torch.device, num_given: int = 0
) -> Proposer:
    """The way of choosing that fits the run's sampling and acceptance rule; its answer begins with
    `num_given` tokens."""
    if config.sampling.is_greedy:
        return BestProposer()
    if rules()[config.accept].proposals == "samples":
        return SamplingProposer(config, num_given)
    return NoisyProposer(config, vocab_size, device)
