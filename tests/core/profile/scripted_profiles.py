"""Profiles made by hand, whose steps can be worked out in the head."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.backends.cost_curve import CostCurve
from core.drafters.tree_growth import Proposal
from core.profile.costs import Costs
from core.profile.profile import Path, Position, Profile
from tests.profile_events import profile_started

COSTS = Costs(CostCurve((1, 8), (0.01, 0.017)), (0.002,), choosing_s=0.0, rest_s=0.001)
"""A forward over n rows takes 9 + n milliseconds, one of the drafter 2, and the rest 1."""


def scripted_profile(
    text: Sequence[int],
    proposed: Mapping[int, Mapping[Path, Sequence[int]]],
    *,
    mode: str = "sd-eagle",
    prompt: Sequence[int] = (1, 2),
    drafter: Mapping[str, Any] | None = None,
    texts: Sequence[str] = (),
) -> Profile:
    """Of a text, and what is proposed behind paths at some positions, with probability 0.9 each."""
    config = {
        "mode": mode,
        "max_new_tokens": len(text),
        "drafter": {"depth": 4, "fixed_size": True, **(drafter or {})},
    }
    started = profile_started(
        config,
        drafter="" if mode == "ngram" else mode,
        forward_rows=list(COSTS.curve.rows),
        forward_s=list(COSTS.curve.seconds),
        draft_s=list(COSTS.draft),
    )
    profile = Profile(started, list(prompt), COSTS, list(text), list(texts))
    for position, children in proposed.items():
        found = {
            path: Proposal(list(token_ids), [0.9] * len(token_ids))
            for path, token_ids in children.items()
        }
        profile.positions[position] = Position(found, None)
    return profile


def chains(text: Sequence[int], depth: int, wrong: Sequence[int] = ()) -> Any:
    """Proposals of chains at every position that are right but about the tokens at `wrong` places;
    behind a wrong one, 99s."""
    found: dict[int, dict[Path, list[int]]] = {}
    for position in range(len(text)):
        path: Path = ()
        found[position] = {}
        for place in range(position, min(position + depth, len(text))):
            is_right = place not in wrong and 99 not in path
            child = text[place] if is_right else 99
            found[position][path] = [child]
            path = (*path, child)
    return found
