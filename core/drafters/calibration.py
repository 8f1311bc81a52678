"""How often draft tokens of some probability and rank are accepted, learned during a run."""

from core.drafters.base import Outcome
from core.modes.settings import EXPECTED_RATE

NUM_BINS = 10
NUM_RANKS = 3  # best child, second, all others
PRIOR_WEIGHT = 4.0
# What is expected of a child where the drafter's probability says little: a token drawn with the
# target's noise or judged by rejection is accepted about as often as the two distributions overlap.
PRIOR_RATES = (EXPECTED_RATE, 0.08, 0.03)
# Evidence fades by these factors, a step with a draft and a step without: what was seen some fifty
# drafts ago counts little, and a drafter that stopped paying is tried again some twenty steps later.
_FADING_DRAFTED = 0.98
_FADING_IDLE = 0.995


class Calibration:
    """Turns a drafter's probabilities into chances of acceptance."""

    def __init__(self, *, prob_is_chance: bool = True, expected_rate: float = EXPECTED_RATE):
        """`prob_is_chance`: before anything was observed, a child's probability is its chance.
        `expected_rate` is `best_rate` then."""
        self._prob_is_chance = prob_is_chance
        self._expected_rate = expected_rate
        self._accepted = [[0.0] * NUM_BINS for _ in range(NUM_RANKS)]
        self._judged = [[0.0] * NUM_BINS for _ in range(NUM_RANKS)]
        # By rank, over all probabilities: how many of the judged ones were expected to be accepted.
        self._expected = [0.0] * NUM_RANKS
        self._shifts = [0.0] * NUM_RANKS
        self._best_accepted = 0.0
        self._best_judged = 0.0

    @property
    def tables(self) -> list[list[list[float]]]:
        """Accepted and judged nodes by rank and by tenth of probability  # [2, ranks, bins].

        With a prior of `PRIOR_WEIGHT` nodes that is the probability, or PRIOR_RATES, they give `chance`.
        """
        bins = range(NUM_BINS)
        accepted = [[self._shifted(row, column) for column in bins] for row in range(NUM_RANKS)]
        return [accepted, [row.copy() for row in self._judged]]

    def _shifted(self, row: int, column: int) -> float:
        """Accepted nodes of a bin, and what its prior is too low by; that it leaves [0, 1] for no
        probability of the bin."""
        low, high = column / NUM_BINS, (column + 1) / NUM_BINS
        if not self._prob_is_chance:
            low = high = PRIOR_RATES[row]
        shift = min(max(self._shifts[row], -low), 1.0 - high)
        return self._accepted[row][column] + PRIOR_WEIGHT * shift

    def chance(self, draft_prob: float, rank: int) -> float:
        """Chance that a child of this rank is accepted once its parent is."""
        row, column = min(rank, NUM_RANKS - 1), _bin(draft_prob)
        # In the order in which a device computes it of the tables.
        accepted = self._shifted(row, column) + PRIOR_WEIGHT * self._prior(draft_prob, row)
        return accepted / (self._judged[row][column] + PRIOR_WEIGHT)

    def _prior(self, draft_prob: float, row: int) -> float:
        return draft_prob if self._prob_is_chance else PRIOR_RATES[row]

    @property
    def best_rate(self) -> float:
        """Chance that a node's best child is accepted, whatever its probability."""
        return (self._best_accepted + PRIOR_WEIGHT * self._expected_rate) / (
            self._best_judged + PRIOR_WEIGHT
        )

    def learn(self, outcome: Outcome) -> None:
        """Counts all children of every judged node; a step without a draft fades what is known.

        A child that was not tested because a sibling was accepted is one that was not accepted.
        """
        if outcome.tree.num_drafted:
            self._fade(_FADING_DRAFTED)
            self._count(outcome)
        else:
            self._fade(_FADING_IDLE)
        self._learn_shifts()

    def _count(self, outcome: Outcome) -> None:
        tree, kept = outcome.tree, set(outcome.path)
        for parent in (0, *outcome.path):
            for rank, node in enumerate(tree.children[parent]):
                row, column = min(rank, NUM_RANKS - 1), _bin(tree.draft_probs[node])
                self._judged[row][column] += 1.0
                self._accepted[row][column] += node in kept
                self._expected[row] += self._prior(tree.draft_probs[node], row)
                if rank == 0:
                    self._best_judged += 1.0
                    self._best_accepted += node in kept

    def _learn_shifts(self) -> None:
        """By how much priors are too low for all children of a rank: what was judged falls into many
        bins, and each would follow its prior for long."""
        for row, expected in enumerate(self._expected):
            missed = sum(self._accepted[row]) - expected
            self._shifts[row] = missed / (sum(self._judged[row]) + PRIOR_WEIGHT)

    def _fade(self, factor: float) -> None:
        self._expected = [value * factor for value in self._expected]
        for table in (self._accepted, self._judged):
            for row in table:
                row[:] = [value * factor for value in row]
        self._best_accepted *= factor
        self._best_judged *= factor


def _bin(prob: float) -> int:
    return min(int(prob * NUM_BINS), NUM_BINS - 1)
