"""Which draft tokens are kept: walks down a draft tree, one class a rule.

- `match`, lossless: the target's token is drawn with noise keyed by seed and position, as plain
  decoding draws it, and a draft child is accepted when it is that very token. Every mode gives the
  text of plain decoding for the same seed.
- `rejection`, lossless: Leviathan et al. 2023 and Chen et al. 2023; for several children, rounds
  without replacement (SpecInfer, Miao et al. 2024). The text differs from plain decoding's, its
  distribution does not. Children that were chosen, not sampled, are proposals of probability one.
- `typical`, lossy: Medusa (Cai et al. 2024). A child is kept when the target finds it probable
  enough; the output distribution is not the target's.
"""

import math
from collections.abc import Sequence, Set
from typing import NamedTuple, Protocol

import torch

from core.config import SamplingConfig
from core.sampling import Race, TokenDrawer, law_log_probs
from core.tree import DraftTree

# Medusa's threshold: at least min(epsilon, alpha * exp(-entropy)).
TYPICAL_EPSILON = 0.09
TYPICAL_ALPHA = 0.3


class Trial(NamedTuple):
    """What decided about one drafted token; see `core.events.Accepted`."""

    noise: float | None
    threshold: float | None


class Judgement(NamedTuple):
    """Result of a walk; indices are nodes of the tree."""

    path: list[int]
    """Accepted nodes, the root left out."""
    tested: list[int]
    """Nodes that were judged, in order."""
    next_token_id: int | None
    """The target's token after the path; None where the path ended the run."""
    trials: Sequence[Trial] = ()
    """One for each tested node; empty where they are not recorded."""


class _Choice(NamedTuple):
    """What a rule decides at one node."""

    tested: list[int]
    kept: int | None
    own_token_id: int | None
    """The target's own token, where no child was kept."""
    trials: Sequence[Trial] = ()


class AcceptanceRule(Protocol):
    """Judges the children of one node."""

    def choose(
        self,
        tree: DraftTree,
        node: int,
        logits: torch.Tensor,  # [vocab] float32, after the node
        position: int,
    ) -> _Choice:
        """`position` is that of the token to choose, counted from the start of the prompt."""
        ...


def judge(
    rule: AcceptanceRule,
    tree: DraftTree,
    logits: torch.Tensor,  # [num_nodes, vocab] float32
    position: int,
    end_token_ids: Set[int],
) -> Judgement:
    """Walks from the root as long as the rule keeps a child; `position` follows the root."""
    path: list[int] = []
    tested: list[int] = []
    trials: list[Trial] = []
    node = 0
    while True:
        choice = rule.choose(tree, node, logits[node], position + tree.depths[node])
        tested += choice.tested
        trials += choice.trials
        if choice.kept is None:
            return Judgement(path, tested, choice.own_token_id, trials)
        path.append(choice.kept)
        if tree.token_ids[choice.kept] in end_token_ids:
            return Judgement(path, tested, None, trials)
        node = choice.kept


class MatchRule:
    """Accepts the child that is the target's own draw."""

    def __init__(self, drawer: TokenDrawer, *, records_noise: bool = False):
        """`records_noise` is not for greedy settings, which have none."""
        self._drawer = drawer
        self._records_noise = records_noise

    def choose(self, tree: DraftTree, node: int, logits: torch.Tensor, position: int) -> _Choice:
        """See `AcceptanceRule.choose`."""
        children = tree.children[node]
        race = None
        if self._records_noise and children:
            race = self._drawer.race(logits, position)
        token_id = self._drawer.draw(logits, position) if race is None else race.token_id
        tested: list[int] = []
        kept = None
        for child in children:
            tested.append(child)
            if tree.token_ids[child] == token_id:
                kept = child
                break
        trials = [] if race is None else _trials(race, [tree.token_ids[child] for child in tested])
        return _Choice(tested, kept, None if kept is not None else token_id, trials)


def _trials(race: Race, token_ids: list[int]) -> list[Trial]:
    """The Gumbel noise of tokens, and what each would have needed to be drawn."""
    ids = torch.tensor([race.token_id, *token_ids], device=race.log_probs.device)
    numbers = torch.stack([race.log_probs[ids], race.log_noise[ids]])
    log_probs, log_noise = numbers.tolist()  # one read from the device
    best = log_probs[0] - log_noise[0]
    return [
        Trial(-noise, best - log_prob if math.isfinite(log_prob) else None)
        for log_prob, noise in zip(log_probs[1:], log_noise[1:], strict=True)
    ]


class Round(NamedTuple):
    """One round of rejection sampling over laws; the laws after it hold if the token is refused."""

    accept_prob: float
    target_law: torch.Tensor  # [vocab]
    draft_law: torch.Tensor  # [vocab]


def rejection_round(
    target_law: torch.Tensor,  # [vocab]
    draft_law: torch.Tensor,  # [vocab]
    token_id: int,
) -> Round:
    """Accepts with min(1, target / draft); else the target's law becomes the residual.

    The draft law becomes that of the next sample without replacement.
    """
    draft_prob = float(draft_law[token_id])
    target_prob = float(target_law[token_id])
    if draft_prob <= 0.0:  # drafted twice, or never possible: no evidence, no change
        return Round(0.0, target_law, draft_law)
    residual = (target_law - draft_law).clamp_(min=0.0)
    mass = float(residual.sum())
    rest = draft_law.clone()
    rest[token_id] = 0.0
    rest_mass = float(rest.sum())
    return Round(
        min(1.0, target_prob / draft_prob),
        # No residual mass: both laws are the same, and a refusal can only be a rounding.
        residual / mass if mass > 0.0 else target_law,
        rest / rest_mass if rest_mass > 0.0 else rest,
    )


class RejectionRule:
    """Rejection sampling in rounds over a node's children."""

    def __init__(self, sampling: SamplingConfig, generator: torch.Generator):
        self._sampling = sampling
        self._generator = generator

    def choose(self, tree: DraftTree, node: int, logits: torch.Tensor, position: int) -> _Choice:
        """See `AcceptanceRule.choose`."""
        target_law = law_log_probs(logits[None], self._sampling)[0].exp_()
        sampled_law = tree.sampled_laws.get(node)
        tested: list[int] = []
        trials: list[Trial] = []
        for child in tree.children[node]:
            tested.append(child)
            token_id = tree.token_ids[child]
            if sampled_law is None:
                draft_law = torch.zeros_like(target_law)
                draft_law[token_id] = 1.0
            else:
                draft_law = sampled_law
            result = rejection_round(target_law, draft_law, token_id)
            noise = float(torch.rand((), generator=self._generator))
            trials.append(Trial(noise, result.accept_prob))
            if noise < result.accept_prob:
                return _Choice(tested, child, None, trials)
            target_law = result.target_law
            if sampled_law is not None:
                sampled_law = result.draft_law
        own = torch.multinomial(target_law.cpu(), 1, generator=self._generator)
        return _Choice(tested, None, int(own), trials)


class TypicalRule:
    """Keeps the child that the target finds most probable, if it is typical enough. Lossy."""

    def __init__(self, sampling: SamplingConfig, drawer: TokenDrawer):
        self._sampling = sampling
        self._drawer = drawer

    def choose(self, tree: DraftTree, node: int, logits: torch.Tensor, position: int) -> _Choice:
        """See `AcceptanceRule.choose`."""
        children = tree.children[node]
        trials: list[Trial] = []
        if children:
            log_probs = law_log_probs(logits[None], self._sampling)[0]
            probs = log_probs.exp()
            entropy = float(-torch.xlogy(probs, probs).sum())
            threshold = min(TYPICAL_EPSILON, TYPICAL_ALPHA * float(torch.tensor(-entropy).exp()))
            trials = [Trial(None, threshold)] * len(children)
            best = max(children, key=lambda child: float(probs[tree.token_ids[child]]))
            if float(probs[tree.token_ids[best]]) > threshold:
                return _Choice(children, best, None, trials)
        return _Choice(children, None, self._drawer.draw(logits, position), trials)


def make_rule(
    accept: str,
    sampling: SamplingConfig,
    drawer: TokenDrawer,
    generator: torch.Generator,
    *,
    records_noise: bool = False,
) -> AcceptanceRule:
    """The rule of a name. With greedy settings every rule is `match`, for the law is one token.

    `records_noise` asks `match` for what the other rules know anyway.
    """
    if accept == "match" or sampling.is_greedy:
        return MatchRule(drawer, records_noise=records_noise and not sampling.is_greedy)
    if accept == "rejection":
        return RejectionRule(sampling, generator)
    return TypicalRule(sampling, drawer)
