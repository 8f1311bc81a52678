"""Dynamic trees: which nodes are drafted, which are kept, and when drafting stops."""

import math

import pytest
import torch

from core.drafters.base import DraftLimits, Outcome
from core.drafters.proposals import BestProposer
from core.drafters.tree_growth import DraftRows, LevelRow, Proposal, TreeGrower
from core.drafters.tree_size import best_size, chain_speed, pays_to_continue
from core.modes.settings import TreeSettings
from core.trees.tree import DraftTree

LIMITS = DraftLimits(256, 64)


def logits_of(probs: list[float]) -> list[float]:
    return [math.log(prob) for prob in probs]


def same_everywhere(probs: list[float]) -> tuple[list[list[LevelRow]], object]:
    """A drafter with one distribution; and the levels that were asked of it."""
    levels: list[list[LevelRow]] = []

    def forward(rows: list[LevelRow]) -> torch.Tensor:
        levels.append(rows)
        return torch.tensor([logits_of(probs)] * len(rows))

    return levels, forward


def grown(probs: list[float], **settings: object) -> tuple[DraftTree, list[list[LevelRow]]]:
    levels, forward = same_everywhere(probs)
    grower = TreeGrower(TreeSettings(**settings), BestProposer(), None)
    return grower.grow(9, 10, LIMITS, None, forward), levels


def test_a_chain_follows_the_best_token() -> None:
    tree, levels = grown([0.1, 0.7, 0.2], branching=1, depth=4)
    assert tree.token_ids == [9, 1, 1, 1, 1]
    assert tree.parents == [-1, 0, 1, 2, 3]
    assert [[row.token_id for row in rows] for rows in levels] == [[9], [1], [1], [1]]


def test_the_most_probable_frontier_is_expanded() -> None:
    _, levels = grown([0.1, 0.6, 0.3], branching=2, depth=3)
    assert [row.token_id for row in levels[1]] == [1, 2]
    # 1-1 with 0.36, then 1-2 and 2-1 with 0.18 each: the earlier one.
    assert [(row.token_id, row.parent_row) for row in levels[2]] == [(1, 1), (2, 1)]


def test_the_best_nodes_over_all_depths_are_kept_and_connected() -> None:
    tree, _ = grown([0.1, 0.6, 0.3], branching=2, depth=3, num_nodes=4)
    # Reaches: 1: 0.6, 1-1: 0.36, 2: 0.3, 1-1-1: 0.216; not 1-2 and 2-1 with 0.18.
    assert sorted(tree.path_token_ids(node) for node in range(1, 5)) == [
        [1], [1, 1], [1, 1, 1], [2],
    ]  # fmt: skip
    assert all(tree.parents[node] < node for node in range(1, 5))


def test_limits_of_the_step_bound_depth_and_nodes() -> None:
    _, forward = same_everywhere([0.1, 0.6, 0.3])
    grower = TreeGrower(TreeSettings(branching=3, depth=8), BestProposer(), None)
    tree = grower.grow(9, 10, DraftLimits(5, 2), None, forward)
    assert tree.num_drafted == 5
    assert max(tree.depths) == 2


class _SlowProposer(BestProposer):
    """Takes a second of a clock that nobody waits for."""

    def __init__(self, now_s: list[float]):
        self._now_s = now_s

    def propose(self, logits: torch.Tensor, rows: DraftRows, count: int) -> list[Proposal]:
        self._now_s[0] += 1.0
        return super().propose(logits, rows, count)


def test_choosing_children_counts_as_drafting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward of next to nothing is worth it at once; with the choices it is soon not."""
    now_s = [0.0]
    monkeypatch.setattr("core.drafters.tree_growth.time.perf_counter", lambda: now_s[0])
    _, forward = same_everywhere([0.1, 0.6, 0.3])
    grower = TreeGrower(TreeSettings(depth=4), _SlowProposer(now_s), lambda rows: 0.01)
    sizes = [
        grower.grow(9, 10, LIMITS, lambda rows: 1.0 + 0.01 * rows, forward).num_drafted
        for _ in range(20)
    ]
    assert sizes[0] > 0
    assert sizes[-1] == 0


def sized(probs: list[float], draft_s: float, verify_s: float = 0.0) -> DraftTree:
    """A chain of at most eight where a forward over n rows costs 1 + n * verify_s seconds."""
    _, forward = same_everywhere(probs)
    grower = TreeGrower(TreeSettings(depth=8), BestProposer(), lambda rows: draft_s)
    return grower.grow(9, 10, LIMITS, lambda rows: 1.0 + verify_s * rows, forward)


def test_cheap_drafts_are_long_and_dear_ones_are_not_made() -> None:
    sure = [0.001, 0.998, 0.001]
    assert sized(sure, draft_s=0.01).num_drafted == 8
    assert sized(sure, draft_s=3.0).num_drafted == 0
    assert sized(sure, draft_s=0.01, verify_s=20.0).num_drafted == 0


def test_a_draft_in_one_pass_is_paid_for_with_its_first_level() -> None:
    """Four levels for the price of one: chains, whose levels cost that each, stop before the first."""
    drafted = {}
    for in_one_pass in (False, True):
        levels, forward = same_everywhere([0.001, 0.998, 0.001])
        asked: list[int] = []

        def draft_cost(rows: int, asked: list[int] = asked) -> float:
            asked.append(rows)
            return 1.5

        grower = TreeGrower(
            TreeSettings(depth=4), BestProposer(), draft_cost, in_one_pass=in_one_pass
        )
        tree = grower.grow(9, 10, LIMITS, lambda rows: 1.0, forward)
        drafted[in_one_pass] = tree.num_drafted
    assert drafted == {False: 0, True: 4}
    assert asked == [4] and len(levels) == 4
    assert grower.drafting_s == pytest.approx(1.5, abs=0.1)


def test_a_drafter_that_is_always_refused_stops_and_is_tried_again() -> None:
    _, forward = same_everywhere([0.001, 0.998, 0.001])
    grower = TreeGrower(TreeSettings(depth=4), BestProposer(), lambda rows: 0.2, clock=lambda: 0.0)
    drafted = []
    for _ in range(150):
        tree = grower.grow(9, 10, LIMITS, lambda rows: 1.0, forward)
        drafted.append(tree.num_drafted)
        grower.learn(Outcome(tree, [], [1] if tree.num_drafted else [], [5]))
    assert drafted[0] == 4
    assert sum(count > 0 for count in drafted) < 25, "mostly it decodes plainly"
    assert any(drafted[60:]), "the text may have changed"


def test_the_size_with_the_most_tokens_per_second_is_found() -> None:
    reach = [0.9, 0.8, 0.3, 0.05]
    assert best_size(reach, lambda rows: 1.0) == 4
    assert best_size(reach, lambda rows: 1.0 + 0.4 * (rows - 1)) == 2
    assert best_size(reach, lambda rows: float(rows)) == 0
    # What was spent already is spent: it speaks for a longer tree, never against any.
    assert best_size([0.3], lambda rows: 1.0 + 0.25 * (rows - 1), spent_s=5.0) == 1


def test_looking_ahead_passes_a_first_row_that_is_dear() -> None:
    def cost(rows: int) -> float:
        return 1.0 if rows == 1 else 2.0

    assert not pays_to_continue([], 1.0, 0.9, 1, cost, 0.0, 0.05)
    assert pays_to_continue([], 1.0, 0.9, 8, cost, 0.0, 0.05)


def test_the_expected_speed_of_a_chain_is_leviathans() -> None:
    speed = chain_speed(0.8, 3, lambda rows: 1.0, lambda rows: 0.1)
    assert speed == pytest.approx((1 - 0.8**4) / (1 - 0.8) / 1.3)
