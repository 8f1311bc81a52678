"""How often draft tokens of some probability and rank are accepted, learned during a run."""

from core.drafters.base import Outcome

_NUM_BINS = 10
_NUM_RANKS = 3  # best child, second, all others
_PRIOR_WEIGHT = 4.0
_PRIOR_BEST_RATE = 0.7
# Evidence fades by this factor for each step without a draft, so that a drafter that stopped
# paying is tried again when the text may have changed.
_FADING = 0.95


class Calibration:
    """Turns a drafter's probabilities into chances of acceptance."""

    def __init__(self) -> None:
        self._accepted = [[0.0] * _NUM_BINS for _ in range(_NUM_RANKS)]
        self._tested = [[0.0] * _NUM_BINS for _ in range(_NUM_RANKS)]
        self._best_accepted = 0.0
        self._best_tested = 0.0

    def chance(self, draft_prob: float, rank: int) -> float:
        """Chance that a child of this rank is accepted once its parent is."""
        row, column = min(rank, _NUM_RANKS - 1), _bin(draft_prob)
        accepted = self._accepted[row][column] + _PRIOR_WEIGHT * draft_prob
        return accepted / (self._tested[row][column] + _PRIOR_WEIGHT)

    @property
    def best_rate(self) -> float:
        """Chance that a node's best child is accepted, whatever its probability."""
        return (self._best_accepted + _PRIOR_WEIGHT * _PRIOR_BEST_RATE) / (
            self._best_tested + _PRIOR_WEIGHT
        )

    def learn(self, outcome: Outcome) -> None:
        """Counts the tested nodes of a tree; a step without a draft fades what is known."""
        tree = outcome.tree
        if not tree.num_drafted:
            self._fade()
            return
        kept = set(outcome.path)
        for node in outcome.tested:
            rank = tree.children[tree.parents[node]].index(node)
            row, column = min(rank, _NUM_RANKS - 1), _bin(tree.draft_probs[node])
            self._tested[row][column] += 1.0
            self._accepted[row][column] += node in kept
            if rank == 0:
                self._best_tested += 1.0
                self._best_accepted += node in kept

    def _fade(self) -> None:
        for table in (self._accepted, self._tested):
            for row in table:
                row[:] = [value * _FADING for value in row]
        self._best_accepted *= _FADING
        self._best_tested *= _FADING


def _bin(prob: float) -> int:
    return min(int(prob * _NUM_BINS), _NUM_BINS - 1)
