"""What forwards take within steps is learned, and decides about the sizes of trees."""

import pytest
import torch

from core.drafters.base import Outcome
from core.drafters.pace import Pace, StepCost
from core.drafters.proposals import BestProposer
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.modes.settings import TreeSettings
from tests.core.drafters.test_tree_growth import LIMITS

SURE = [0.001, 0.998, 0.001]


class Forward:
    """Takes so many seconds of a clock of its own, the first of a draft and the others."""

    def __init__(self, first_s: float, later_s: float):
        self.now_s = 0.0
        self._first_s, self._later_s = first_s, later_s

    def __call__(self, rows: list[LevelRow]) -> torch.Tensor:
        self.now_s += self._later_s if rows[0].depth else self._first_s
        return torch.tensor([SURE] * len(rows)).log()


def drafted(forward: Forward, num_drafts: int, *, learns_pace: bool = True) -> list[int]:
    """Sizes of chains, where the curve has a draft's forward at a tenth of a verification."""
    grower = TreeGrower(
        TreeSettings(depth=4),
        BestProposer(),
        lambda rows: 0.1,
        learns_pace=learns_pace,
        clock=lambda: forward.now_s,
    )
    sizes = []
    for _ in range(num_drafts):
        tree = grower.grow(9, 10, LIMITS, lambda rows: 1.0 + 0.01 * rows, forward)
        path = list(range(1, len(tree)))
        grower.learn(Outcome(tree, path, path, [1]))
        sizes.append(tree.num_drafted)
    return sizes


def test_a_draft_that_takes_longer_than_its_curve_says_is_given_up_and_tried_again() -> None:
    sizes = drafted(Forward(20.0, 20.0), 80)
    assert sizes[0] == 4
    assert sizes[6:10] == [0] * 4, "a handful of drafts told it"
    assert 0 < sum(size > 0 for size in sizes[10:]) < 15, "the machine may have changed"


def test_a_dear_first_forward_does_not_make_the_others_dear() -> None:
    """Three times a verification pays over four tokens, and would not at every level."""
    assert drafted(Forward(1.5, 0.1), 30)[-1] == 4
    assert drafted(Forward(1.5, 1.5), 30)[-1] == 0


def test_in_a_batch_what_a_forward_took_tells_nothing() -> None:
    assert set(drafted(Forward(20.0, 20.0), 20, learns_pace=False)) == {4}


def test_one_long_forward_is_forgotten_at_once() -> None:
    pace = Pace()
    pace.learn_time(100.0, 1.0)
    assert pace.value == 1.0
    for _ in range(4):
        pace.learn_time(2.0, 1.0)
    assert pace.value == 2.0
    pace.learn_time(0.0, 1.0)  # no clock saw it
    assert pace.value == 2.0


def test_a_step_costs_what_the_last_ones_did() -> None:
    cost = StepCost(lambda rows: 0.01 * rows)
    assert cost(3) == pytest.approx(0.03)
    for _ in range(5):
        cost.learn(2, verify_s=0.03, rest_s=0.002)
    assert cost(4) == pytest.approx(1.5 * 0.04 + 0.002)
    shared = StepCost(lambda rows: 0.01 * rows, learns=False)
    shared.learn(2, verify_s=3.0, rest_s=1.0)
    assert shared(4) == pytest.approx(0.04)


def test_a_step_without_a_draft_fades_what_is_known() -> None:
    pace = Pace()
    for _ in range(9):
        pace.learn_time(3.0, 1.0)
    assert pace.value == 3.0
    for _ in range(48):
        pace.pass_by()
    assert pace.value == 1.0
