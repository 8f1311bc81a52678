"""rejection, lossless: Leviathan et al. 2023 and Chen et al. 2023.

For several children, rounds without replacement (SpecInfer, Miao et al. 2024). The text differs from
plain decoding's, its distribution does not. Children that were chosen, not sampled, are proposals of
probability one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from core.acceptance.base import Choice, RuleParts, Trial
from core.acceptance.registry import Explanation, Rule, register_rule

if TYPE_CHECKING:
    import torch

    from core.trees.tree import DraftTree


class Round(NamedTuple):
    """One round of rejection sampling; the distributions after it hold if the token is refused."""

    accept_prob: float
    target_probs: torch.Tensor  # [vocab]
    draft_probs: torch.Tensor  # [vocab]


def rejection_round(
    target_probs: torch.Tensor,  # [vocab]
    draft_probs: torch.Tensor,  # [vocab]
    token_id: int,
) -> Round:
    """Accepts with min(1, target / draft); else the target's distribution becomes the residual.

    The draft distribution becomes that of the next sample without replacement.
    """
    draft_prob = float(draft_probs[token_id])
    target_prob = float(target_probs[token_id])
    if draft_prob <= 0.0:  # drafted twice, or never possible: no evidence, no change
        return Round(0.0, target_probs, draft_probs)
    residual = (target_probs - draft_probs).clamp_(min=0.0)
    mass = float(residual.sum())
    rest = draft_probs.clone()
    rest[token_id] = 0.0
    rest_mass = float(rest.sum())
    return Round(
        min(1.0, target_prob / draft_prob),
        # No residual mass: both distributions are the same, and a refusal can only be a rounding.
        residual / mass if mass > 0.0 else target_probs,
        rest / rest_mass if rest_mass > 0.0 else rest,
    )


class RejectionRule:
    """Rejection sampling in rounds over a node's children."""

    def __init__(self, parts: RuleParts):
        self._drawer = parts.drawer
        self._generator = parts.generator
        self._number = parts.drawer.one_number()

    def choose(self, tree: DraftTree, node: int, logits: torch.Tensor, position: int) -> Choice:
        """See `AcceptanceRule.choose`."""
        target_probs = self._drawer.log_probs(logits).exp_()
        sampled_probs = tree.sampled_probs.get(node)
        tested: list[int] = []
        trials: list[Trial] = []
        for child in tree.children[node]:
            tested.append(child)
            token_id = tree.token_ids[child]
            if sampled_probs is None:
                draft_probs = target_probs.new_zeros(target_probs.shape)
                draft_probs[token_id] = 1.0
            else:
                draft_probs = sampled_probs
            result = rejection_round(target_probs, draft_probs, token_id)
            noise = float(self._number.uniform_(generator=self._generator))
            trials.append(Trial(noise, result.accept_prob))
            if noise < result.accept_prob:
                return Choice(tested, child, None, trials)
            target_probs = result.target_probs
            if sampled_probs is not None:
                sampled_probs = result.draft_probs
        own = target_probs.cpu().multinomial(1, generator=self._generator)
        return Choice(tested, None, int(own), trials)


register_rule(
    Rule(
        name="rejection",
        is_lossless=True,
        proposals="samples",
        make=RejectionRule,
        explanation=Explanation(
            told="Kept where the noise is below target/draft = {threshold:percent}; here it was "
            "{noise:percent}.",
            untold="Kept where the noise is below target/draft; here it was above.",
            kept="Kept, for the noise of {noise:percent} is below target/draft = {threshold:percent}.",
            kept_untold="Kept, for the noise is below target/draft.",
        ),
    )
)
