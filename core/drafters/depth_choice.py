"""How many levels the next draft has: chosen before it starts, for the device does not ask."""

from collections.abc import Iterator

from core.drafters.base import CostOfRows, Outcome
from core.drafters.calibration import Calibration
from core.drafters.tree_growth_device import GrowthShape
from core.drafters.tree_size import DraftOption, best_option
from core.modes.settings import TreeSettings

# Graphs are captured for these depths alone.
DEPTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
# Before anything was judged: so many judged nodes of this rate.
_PRIOR_RATE, _PRIOR_WEIGHT = 0.75, 4.0
# What was judged long ago counts less.
_DECAY = 0.97
# How fast measured times follow the last ones.
_SMOOTHING = 0.2
# Where drafting does not pay it is tried again from time to time, for texts change.
_STEPS_BETWEEN_TRIES = 24


class DepthChoice:
    """Learns from every step of a run how far paths reach and what a level costs."""

    def __init__(self, settings: TreeSettings, calibration: Calibration):
        """`calibration` learns beside it what the device orders the nodes by."""
        self.calibration = calibration
        self._settings = settings
        self.most = settings.depth
        """Levels of the deepest tree."""
        most = settings.depth + 1
        self._tried = [_PRIOR_WEIGHT] * most
        self._kept = [_PRIOR_WEIGHT * _PRIOR_RATE] * most
        self._draft_s = DraftTimes()
        self._other_s = 0.0
        self._num_plain = 0

    def shape(self, depth: int) -> GrowthShape:
        """The tree of so many levels."""
        return GrowthShape(depth, self._settings.branching, self._settings.num_nodes)

    def choose(self, most: int, cost: CostOfRows | None) -> GrowthShape | None:
        """The next tree, at most `most` levels deep; None where plain decoding is faster.

        `cost` is the measured cost of a verification; without it the depth is the settings'.
        """
        depths = [depth for depth in DEPTHS if depth <= min(most, self._settings.depth)]
        if not depths:
            return None
        if cost is None or not self._draft_s.is_known:
            return self.shape(depths[-1])
        best = best_option(self._options(depths, cost), cost(1) + self._other_s)
        self._num_plain = 0 if best else self._num_plain + 1
        if best is None and self._num_plain % _STEPS_BETWEEN_TRIES == 0:
            return self.shape(depths[min(2, len(depths) - 1)])
        return best

    def _options(self, depths: list[int], cost: CostOfRows) -> Iterator[DraftOption[GrowthShape]]:
        expected, reach, level = 1.0, 1.0, 0
        for depth in depths:
            while level < depth:
                level += 1
                reach *= self._kept[level] / self._tried[level]
                expected += reach
            shape = self.shape(depth)
            step_s = cost(shape.num_kept + 1) + self._draft_s.of(depth) + self._other_s
            yield DraftOption(shape, expected, step_s)

    def learn(self, depth: int, outcome: Outcome, draft_s: float | None) -> None:
        """Learns from a judged tree; `draft_s` is what drafting took, where that is known."""
        self.calibration.learn(outcome)
        num_accepted = len(outcome.path)
        for level in range(1, min(num_accepted + 1, depth) + 1):
            self._tried[level] = self._tried[level] * _DECAY + 1.0
            self._kept[level] = self._kept[level] * _DECAY + (level <= num_accepted)
        if draft_s is not None:
            self._draft_s.learn(depth, draft_s)

    def learn_other(self, other_s: float) -> None:
        """Learns what a step took beside drafting and verification, whatever its depth."""
        self._other_s += _SMOOTHING * (other_s - self._other_s)


class DraftTimes:
    """Seconds that drafts of some depths took, and what lies between them.

    A draft has a part that no level adds to, so that levels cost less than their share.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    @property
    def is_known(self) -> bool:
        return bool(self._seconds)

    def learn(self, depth: int, seconds: float) -> None:
        """Takes in a draft of so many levels."""
        old_s = self._seconds.get(depth, seconds)
        self._seconds[depth] = old_s + _SMOOTHING * (seconds - old_s)

    def of(self, depth: int) -> float:
        """Expected seconds, on the line through the two nearest depths; no draft takes none.

        What was not measured is guessed low rather than high, and so it is tried.
        """
        points = sorted({0: 0.0, **self._seconds}.items())
        above = next((i for i, (known, _) in enumerate(points) if known >= depth), len(points) - 1)
        (left, left_s), (right, right_s) = points[max(above - 1, 0)], points[max(above, 1)]
        return left_s + (right_s - left_s) * (depth - left) / (right - left)
