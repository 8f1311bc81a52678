"""Lookup: what it expects of repetition, and that it learns better without drafting."""

import pytest

from core.drafters.base import DraftLimits, Outcome
from core.drafters.ngram import NgramDrafter
from core.modes.ngram import NgramSettings
from core.trees.tree import DraftTree

LIMITS = DraftLimits(8, 8)
PROMPT = [1, 2, 3, 4, 5, 9, 1, 2]


def dear(rows: int) -> float:
    """Every row of a verification costs a sixth of the first."""
    return 1.0 + (rows - 1) / 6


@pytest.mark.parametrize(("is_greedy", "drafts"), [(True, True), (False, False)])
def test_sampled_text_is_expected_to_repeat_itself_less(is_greedy: bool, drafts: bool) -> None:
    drafter = NgramDrafter(NgramSettings(min_match=2), is_greedy=is_greedy)
    drafter.begin(PROMPT, 100)
    assert (drafter.draft(2, LIMITS, dear).num_drafted > 0) == drafts


def test_repetition_is_learned_while_nothing_is_drafted() -> None:
    drafter = NgramDrafter(NgramSettings(min_match=2), is_greedy=False)
    drafter.begin(PROMPT, 100)
    for token_id in [3, 4, 5, 9, 1, 2] * 3:
        drafter.commit(Outcome(DraftTree(0), [], [], [token_id]))
    assert drafter.draft(2, LIMITS, dear).num_drafted > 0
