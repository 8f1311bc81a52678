"""What a drafter's probabilities are worth is learned, first over all of them."""

import pytest
import torch

from core.drafters.base import Outcome
from core.drafters.calibration import PRIOR_RATES, Calibration
from core.drafters.calibration_device import chances
from core.trees.tree import DraftTree


def judged(calibration: Calibration, prob: float, accepted: int, refused: int) -> None:
    """So many single drafts of a probability, one after the other in turn."""
    for kept in [True] * accepted + [False] * refused:
        tree = DraftTree(0)
        tree.add(0, 5, prob)
        calibration.learn(Outcome(tree, [1] if kept else [], [1], [5]))


@pytest.mark.parametrize("prob_is_chance", [True, False])
def test_before_anything_was_judged_a_chance_is_its_prior(prob_is_chance: bool) -> None:
    calibration = Calibration(prob_is_chance=prob_is_chance)
    assert calibration.chance(0.35, 0) == pytest.approx(0.35 if prob_is_chance else PRIOR_RATES[0])


def test_what_was_judged_of_one_probability_tells_of_the_others() -> None:
    timid, bold = Calibration(), Calibration()
    judged(timid, 0.35, 30, 0)
    judged(bold, 0.65, 0, 30)
    assert timid.chance(0.35, 0) > 0.85, "its own bin"
    assert 0.75 < timid.chance(0.45, 0) <= 1.0
    assert 0.0 <= bold.chance(0.85, 0) < 0.4
    assert timid.chance(0.45, 1) == pytest.approx(0.45), "another rank is another matter"


def test_where_noise_decides_the_rate_of_a_run_replaces_the_prior() -> None:
    calibration = Calibration(prob_is_chance=False)
    for prob in (0.15, 0.35, 0.55, 0.75):
        judged(calibration, prob, 3, 7)
    assert calibration.chance(0.95, 0) == pytest.approx(0.32, abs=0.1)


def test_no_chance_leaves_its_bounds() -> None:
    calibration = Calibration()
    judged(calibration, 0.05, 60, 0)
    assert calibration.chance(0.99, 0) <= 1.0
    other = Calibration()
    judged(other, 0.99, 0, 60)
    assert other.chance(0.01, 0) >= 0.0


@pytest.mark.parametrize("prob_is_chance", [True, False])
def test_a_device_computes_the_same_of_the_tables(prob_is_chance: bool) -> None:
    calibration = Calibration(prob_is_chance=prob_is_chance)
    judged(calibration, 0.42, 11, 6)
    judged(calibration, 0.83, 5, 7)
    probs = torch.tensor([[0.8, 0.43, 0.01], [0.999, 0.5, 0.2]], dtype=torch.float64)
    tables = torch.tensor(calibration.tables, dtype=torch.float64)
    found = chances(probs, tables, prob_is_chance=prob_is_chance)
    expected = [
        [calibration.chance(p, rank) for rank, p in enumerate(row)] for row in probs.tolist()
    ]
    assert found.tolist() == expected


def test_steps_without_a_draft_fade_all_that_is_known() -> None:
    calibration = Calibration()
    judged(calibration, 0.65, 0, 30)
    low = calibration.chance(0.85, 0)
    for _ in range(2000):
        calibration.learn(Outcome(DraftTree(0), [], [], [5]))
    assert low < 0.4
    assert calibration.chance(0.85, 0) == pytest.approx(0.85, abs=0.01)
    assert calibration.chance(0.65, 0) == pytest.approx(0.65, abs=0.01)
