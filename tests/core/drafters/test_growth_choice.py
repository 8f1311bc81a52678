"""How deep and large the device drafts, on drafts and verifications whose times are known."""

import pytest

from core.drafters.base import Outcome
from core.drafters.calibration import Calibration
from core.drafters.growth_choice import DEPTHS, DraftTimes, GrowthChoice
from core.modes.settings import TreeSettings
from core.trees.tree import DraftTree

DEPTH = 8


def chain(depth: int, num_accepted: int) -> Outcome:
    tree = DraftTree(0)
    for node in range(depth):
        tree.add(node, node + 1, 0.9)
    path = list(range(1, num_accepted + 1))
    tested = list(range(1, min(num_accepted + 1, depth) + 1))
    return Outcome(tree, path, tested, [node + 1 for node in path] + [99])


def settled(*, base_s: float, level_s: float, other_s: float, num_accepted: int = 5) -> int | None:
    """The depth after many steps, of which each would accept as many tokens; a verification takes a
    millisecond and 20 microseconds a row."""
    choice = GrowthChoice(
        TreeSettings(depth=DEPTH, branching=1, num_nodes=DEPTH), Calibration(prob_is_chance=True)
    )

    def cost(rows: int) -> float:
        return 1e-3 + 2e-5 * rows

    for _ in range(300):
        shape = choice.choose(DEPTH, cost)
        if shape is not None:
            depth = shape.depth
            outcome = chain(depth, min(depth, num_accepted))
            reach = [outcome.tree.reach()[-1]] * depth
            choice.learn(shape, outcome, reach, base_s + depth * level_s)
        choice.learn_other(other_s)
    found = choice.choose(DEPTH, cost)
    return None if found is None else found.depth


def best(*, base_s: float, level_s: float, other_s: float, num_accepted: int = 5) -> int | None:
    def rate(depth: int) -> float:
        draft_s = base_s + depth * level_s if depth else 0.0
        step_s = 1e-3 + 2e-5 * (depth + 1) + draft_s + other_s
        return (min(depth, num_accepted) + 1) / step_s

    depths = [0, *(depth for depth in DEPTHS if depth <= DEPTH)]
    return max(depths, key=rate) or None


@pytest.mark.parametrize(
    "times",
    [
        {"base_s": 0.0, "level_s": 1e-4, "other_s": 0.0},
        {"base_s": 8e-4, "level_s": 1e-4, "other_s": 0.0},
        {"base_s": 2e-3, "level_s": 2e-5, "other_s": 4e-4},
        {"base_s": 0.0, "level_s": 9e-4, "other_s": 2e-3, "num_accepted": 3},
        {"base_s": 0.0, "level_s": 9e-3, "other_s": 0.0},
    ],
    ids=["levels alone", "a first part", "a dear first part", "dear levels", "too dear"],
)
def test_the_depth_with_most_tokens_a_second_is_found(times: dict[str, float]) -> None:
    assert settled(**times) == best(**times)  # type: ignore[arg-type]


def test_what_a_step_takes_beside_its_forwards_makes_drafts_pay() -> None:
    """Such a level gains less than it costs where nothing else takes time."""
    dear = {"base_s": 0.0, "level_s": 1.1e-3, "num_accepted": 8}
    assert settled(**dear, other_s=0.0) is None  # type: ignore[arg-type]
    assert settled(**dear, other_s=1e-3) is not None  # type: ignore[arg-type]


def test_times_between_measured_depths_lie_on_lines() -> None:
    times = DraftTimes()
    assert not times.is_known
    times.learn(8, 10.0)
    assert [times.of(depth) for depth in (4, 8, 12)] == [5.0, 10.0, 15.0]
    times.learn(4, 8.0)
    assert [times.of(depth) for depth in (2, 4, 6, 8, 12)] == [4.0, 8.0, 9.0, 10.0, 12.0]
    times.learn(8, 15.0)
    assert times.of(8) == pytest.approx(11.0), "slowly"


# The chance of the n-th best node, for drafters that are sure of few, of some or of many.
FEW = [0.95, 0.9, 0.8, 0.7, *(0.02 / (1 + n) for n in range(60))]
SOME = [0.9, 0.8, 0.7, *[0.05] * 61]
MANY = [0.5, 0.5, 0.5, *[0.12] * 61]


def settled_size(reach: list[float], row_s: float, num_nodes: int = 47) -> int:
    """Nodes of the tree after many steps, at so many seconds for each row beside a millisecond."""
    settings = TreeSettings(depth=4, branching=8, num_nodes=num_nodes)
    choice = GrowthChoice(settings, Calibration(prob_is_chance=True))
    found = choice.shape(4)
    for _ in range(60):
        chosen = choice.choose(4, lambda rows: 1e-3 + row_s * rows)
        assert chosen is not None
        found = chosen
        choice.learn(found, chain(4, 3), reach, 1e-4)
    return found.num_kept


def test_the_size_with_most_tokens_a_second_is_found() -> None:
    assert settled_size(FEW, row_s=1e-5) == 15
    assert settled_size(MANY, row_s=1e-5) == 47
    assert settled_size(SOME, row_s=1e-6) == 47
    assert settled_size(SOME, row_s=3e-5) == 15


def test_a_size_between_those_of_graphs_is_the_largest_one() -> None:
    assert settled_size(MANY, row_s=1e-6, num_nodes=40) == 40
    assert settled_size(MANY, row_s=1e-6, num_nodes=8) == 8
