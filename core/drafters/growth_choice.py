"""How deep and how large the next draft is: chosen before it starts, for the device does not ask."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from core.drafters.base import CostOfRows, Outcome
from core.drafters.calibration import Calibration
from core.drafters.tree_growth_device import GrowthShape
from core.drafters.tree_size import DraftOption, best_option
from core.modes.settings import TreeSettings
from core.trees.tensors import ROWS

# Graphs are captured for these depths alone.
DEPTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
# Fewer rows than these cost a device hardly less, and each size of a tree has graphs of its own.
_FEWEST_ROWS = 16
# Before anything was judged: so many judged nodes of this rate.
_PRIOR_RATE, _PRIOR_WEIGHT = 0.75, 4.0
# What was judged long ago counts less, and in steps without a draft what is expected takes its place.
_DECAY, _IDLE_DECAY = 0.97, 0.98
# How fast measured times follow the last ones.
_SMOOTHING = 0.2
# Where drafting does not pay it is tried again from time to time, for texts change.
_STEPS_BETWEEN_TRIES = 24


class GrowthChoice:
    """Learns from every step of a run how far paths reach, what smaller trees would lose, and what a
    level costs."""

    def __init__(self, settings: TreeSettings, calibration: Calibration):
        """`calibration` learns beside it what the device orders the nodes by."""
        self.calibration = calibration
        self.most = settings.depth
        """Levels of the deepest tree."""
        self._settings = settings
        most = settings.depth + 1
        self._tried = [_PRIOR_WEIGHT] * most
        self._kept = [_PRIOR_WEIGHT * _PRIOR_RATE] * most
        self._yields = _Yields(settings.num_nodes)
        self._draft_s = DraftTimes()
        self._other_s = 0.0
        self._num_plain = 0

    def shape(self, depth: int, num_nodes: int | None = None) -> GrowthShape:
        """The tree of so many levels; the largest one unless told otherwise."""
        settings = self._settings
        return GrowthShape(depth, settings.branching, num_nodes or settings.num_nodes)

    def choose(self, most: int, cost: CostOfRows | None) -> GrowthShape | None:
        """The next tree, at most `most` levels deep; None where plain decoding is faster.

        `cost` is the measured cost of a verification; without it depth and size are the settings'.
        """
        depths = [depth for depth in DEPTHS if depth <= min(most, self._settings.depth)]
        if not depths:
            return None
        if cost is None or not self._draft_s.is_known:
            return self.shape(depths[-1])
        best = best_option(self._options(depths, cost), cost(1) + self._other_s)
        if best is not None:
            self._num_plain = 0
            return best
        self._forget()
        self._num_plain += 1
        if self._num_plain % _STEPS_BETWEEN_TRIES == 0:
            return self.shape(depths[min(2, len(depths) - 1)])
        return None

    def _forget(self) -> None:
        """Lets what was judged fade, for a step goes by without a draft and the text goes on."""
        new = 1.0 - _IDLE_DECAY
        for level in range(len(self._tried)):
            self._tried[level] += new * (_PRIOR_WEIGHT - self._tried[level])
            self._kept[level] += new * (_PRIOR_WEIGHT * _PRIOR_RATE - self._kept[level])

    def _options(self, depths: list[int], cost: CostOfRows) -> Iterator[DraftOption[GrowthShape]]:
        expected, reach, level = 0.0, 1.0, 0
        for depth in depths:
            while level < depth:
                level += 1
                reach *= self._kept[level] / self._tried[level]
                expected += reach
            draft_s = self._draft_s.of(depth) + self._other_s
            for num_nodes in self._yields.sizes:
                shape = self.shape(depth, num_nodes)
                tokens = 1.0 + expected * self._yields.share(num_nodes)
                yield DraftOption(shape, tokens, cost(shape.num_kept + 1) + draft_s)
                if shape.num_kept < num_nodes:
                    break  # larger trees are the same

    def learn(
        self, shape: GrowthShape, outcome: Outcome, reach: Sequence[float], draft_s: float | None
    ) -> None:
        """Learns from a judged tree. `reach` are the chances of all nodes that it could have had, best
        first; `draft_s` is what drafting took, where that is known."""
        self.calibration.learn(outcome)
        num_accepted = len(outcome.path)
        for level in range(1, min(num_accepted + 1, shape.depth) + 1):
            self._tried[level] = self._tried[level] * _DECAY + 1.0
            self._kept[level] = self._kept[level] * _DECAY + (level <= num_accepted)
        self._yields.learn(shape.num_nodes, reach)
        if draft_s is not None:
            self._draft_s.learn(shape.depth, draft_s)

    def learn_other(self, other_s: float) -> None:
        """Learns what a step took beside drafting and verification, whatever its depth."""
        self._other_s += _SMOOTHING * (other_s - self._other_s)


class _Yields:
    """What trees of fewer nodes are expected to have accepted, beside those that were grown.

    A smaller tree is the front of a larger one, so that every draft tells of all sizes.
    """

    def __init__(self, most: int):
        rows = (size - 1 for size in ROWS if size >= _FEWEST_ROWS)
        self.sizes = [*(size for size in rows if size < most), most]
        # Sums over the drafts, of which those of long ago count less.
        self._expected = dict.fromkeys(self.sizes, 0.0)
        """Accepted drafted tokens, by the size of the tree."""
        self._grown = 0.0
        """Of the trees as they were grown."""

    def learn(self, num_nodes: int, reach: Sequence[float]) -> None:
        """Takes in a tree of at most so many nodes; see `GrowthChoice.learn`."""
        sums = list(accumulate(reach, initial=0.0))
        for size, expected in self._expected.items():
            self._expected[size] = expected * _DECAY + sums[min(size, len(reach))]
        self._grown = self._grown * _DECAY + sums[min(num_nodes, len(reach))]

    def share(self, num_nodes: int) -> float:
        """Accepted tokens of a tree of this size, in times of those that were grown."""
        return self._expected[num_nodes] / self._grown if self._grown else 1.0


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
