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
# Where drafting does not pay it is tried again from time to time, for texts change.
_STEPS_BETWEEN_TRIES = 24


class DepthChoice:
    """Learns from every step of a run how far paths reach and what a level costs."""

    def __init__(self, settings: TreeSettings, calibration: Calibration):
        """`calibration` learns beside it what the device orders the nodes by."""
        self.calibration = calibration
        self._settings = settings
        most = settings.depth + 1
        self._tried = [_PRIOR_WEIGHT] * most
        self._kept = [_PRIOR_WEIGHT * _PRIOR_RATE] * most
        self._level_s: float | None = None
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
        if cost is None or self._level_s is None:
            return self.shape(depths[-1])
        best = best_option(self._options(depths, cost, self._level_s), cost(1))
        self._num_plain = 0 if best else self._num_plain + 1
        if best is None and self._num_plain % _STEPS_BETWEEN_TRIES == 0:
            return self.shape(depths[min(2, len(depths) - 1)])
        return best

    def _options(
        self, depths: list[int], cost: CostOfRows, level_s: float
    ) -> Iterator[DraftOption[GrowthShape]]:
        expected, reach, level = 1.0, 1.0, 0
        for depth in depths:
            while level < depth:
                level += 1
                reach *= self._kept[level] / self._tried[level]
                expected += reach
            shape = self.shape(depth)
            yield DraftOption(shape, expected, cost(shape.num_kept + 1) + depth * level_s)

    def learn(self, depth: int, outcome: Outcome, draft_s: float | None) -> None:
        """Learns from a judged tree; `draft_s` is what drafting took, where that is known."""
        self.calibration.learn(outcome)
        num_accepted = len(outcome.path)
        for level in range(1, min(num_accepted + 1, depth) + 1):
            self._tried[level] = self._tried[level] * _DECAY + 1.0
            self._kept[level] = self._kept[level] * _DECAY + (level <= num_accepted)
        if draft_s is not None:
            level_s = draft_s / depth
            old_s = level_s if self._level_s is None else self._level_s
            self._level_s = old_s + 0.2 * (level_s - old_s)
