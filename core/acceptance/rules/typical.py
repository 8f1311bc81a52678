"""typical, lossy: Medusa's rule (Cai et al. 2024).

A child is kept when the target finds it probable enough; the output distribution is not the target's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.acceptance.base import Choice, RuleParts, Trial
from core.acceptance.registry import Explanation, Rule, register_rule

if TYPE_CHECKING:
    import torch

    from core.trees.tree import DraftTree


# Medusa's threshold: at least min(epsilon, alpha * exp(-entropy)).
TYPICAL_EPSILON = 0.09
TYPICAL_ALPHA = 0.3


class TypicalRule:
    """Keeps the child that the target finds most probable, if it is typical enough. Lossy."""

    def __init__(self, parts: RuleParts):
        self._drawer = parts.drawer

    def choose(self, tree: DraftTree, node: int, logits: torch.Tensor, position: int) -> Choice:
        """See `AcceptanceRule.choose`."""
        children = tree.children[node]
        trials: list[Trial] = []
        if children:
            log_probs = self._drawer.log_probs(logits)
            probs = log_probs.exp()
            entropy = float(-probs.xlogy(probs).sum())
            threshold = min(TYPICAL_EPSILON, TYPICAL_ALPHA * math.exp(-entropy))
            trials = [Trial(None, threshold)] * len(children)
            best = max(children, key=lambda child: float(probs[tree.token_ids[child]]))
            if float(probs[tree.token_ids[best]]) > threshold:
                return Choice(children, best, None, trials)
        return Choice(children, None, self._drawer.draw(logits, position), trials)


register_rule(
    Rule(
        name="typical",
        is_lossless=False,
        proposals="keyed noise",
        make=TypicalRule,
        explanation=Explanation(
            told="Kept where the target's probability is above {threshold:percent} and no sibling's "
            "is higher; here it was {target:percent} at temperature 1.",
            untold="The target finds it less probable than typical acceptance asks for.",
            kept="Kept, for the target's probability is above {threshold:percent} and no sibling's is "
            "higher; it is {target:percent} at temperature 1.",
            kept_untold="Kept, for the target finds it as probable as typical acceptance asks for.",
        ),
    )
)
