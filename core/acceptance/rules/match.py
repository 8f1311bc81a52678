"""match, lossless: a draft token is kept when it is the one that the target draws.

The target's token is drawn with noise keyed by seed and position, as plain decoding draws it, and a
draft child is accepted when it is that very token. Every mode gives the text of plain decoding for
the same seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.acceptance.base import Choice, RuleParts, Trial, match_children
from core.acceptance.registry import Explanation, Rule, register_rule

if TYPE_CHECKING:
    import torch

    from core.acceptance.sampling import Race
    from core.trees.tree import DraftTree


class MatchRule:
    """Accepts the child that is the target's own draw."""

    def __init__(self, parts: RuleParts):
        """Greedy settings have no noise to record."""
        self._drawer = parts.drawer
        self._records_noise = parts.records_noise and not parts.sampling.is_greedy

    def choose(self, tree: DraftTree, node: int, logits: torch.Tensor, position: int) -> Choice:
        """See `AcceptanceRule.choose`."""
        children = tree.children[node]
        race = None
        if self._records_noise and children:
            race = self._drawer.race(logits, position)
        token_id = self._drawer.draw(logits, position) if race is None else race.token_id
        choice = match_children(tree, node, token_id)
        if race is None:
            return choice
        tested = [tree.token_ids[child] for child in choice.tested]
        return choice._replace(trials=_trials(race, tested))


def _trials(race: Race, token_ids: list[int]) -> list[Trial]:
    """The Gumbel noise of tokens, and what each would have needed to be drawn."""
    log_probs, log_noise = race.numbers([race.token_id, *token_ids])
    best = log_probs[0] - log_noise[0]
    return [
        Trial(-noise, best - log_prob if math.isfinite(log_prob) else None)
        for log_prob, noise in zip(log_probs[1:], log_noise[1:], strict=True)
    ]


_DRAWN = (
    "The noise of this position, keyed by the seed, makes the target draw {own}; only that draft is "
    "kept."
)

register_rule(
    Rule(
        name="match",
        is_lossless=True,
        proposals="keyed noise",
        make=MatchRule,
        device_form="core.acceptance.rules.match_device:DeviceMatchRule",
        explanation=Explanation(
            told=f"{_DRAWN} This token's noise was {{noise:signed}}, and it needed "
            "{threshold:signed}.",
            impossible=f"{_DRAWN} The sampling settings leave this token no probability, so no noise "
            "could save it.",
            untold=_DRAWN,
            kept="The noise of this position, keyed by the seed, makes the target draw this very "
            "token: with a noise of {noise:signed}, none comes before it.",
            kept_untold="The noise of this position, keyed by the seed, makes the target draw this "
            "very token.",
        ),
    )
)
