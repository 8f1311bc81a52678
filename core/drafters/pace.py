"""What forwards take within steps, beside what their curves say.

A curve is measured with nothing else going on: forward after forward, the fastest of each size. In a
step a drafter's first forward finds its weights in no cache, for the target's have just passed through
all of them, and something else is always going on.
"""

from collections import deque
from statistics import median

from core.drafters.base import CostOfRows

# The median of so many is robust and follows a machine whose pace changes; what is there in the
# beginning outweighs a first forward or two that took long for reasons of their own.
_NUM_RECENT = 9
_NUM_BEGINNING = 3
# What is not seen for so many steps is forgotten a little: a draft that seemed too dear is tried again.
_STEPS_TO_FORGET = 8


class Recent:
    """The median of the last values."""

    def __init__(self, beginning: float):
        self.value = beginning
        self._beginning = beginning
        self._values = deque([beginning] * _NUM_BEGINNING, maxlen=_NUM_RECENT)
        self._num_unseen = 0

    def learn(self, value: float) -> None:
        """Takes in one more."""
        self._num_unseen = 0
        self._add(value)

    def pass_by(self) -> None:
        """A step went by without one."""
        self._num_unseen += 1
        if self._num_unseen % _STEPS_TO_FORGET == 0:
            self._add(self._beginning)

    def _add(self, value: float) -> None:
        self._values.append(value)
        self.value = median(self._values)


class Pace(Recent):
    """How many times as long as their curve says forwards take."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def learn_time(self, seconds: float, expected_s: float) -> None:
        """Takes in a forward; one that no clock saw tells nothing."""
        if seconds > 0.0 and expected_s > 0.0:
            self.learn(seconds / expected_s)


class StepCost:
    """Seconds of a step beside its draft, by the rows of the target's forward: what the curve says, at
    the pace of the last ones, and what judging and committing took."""

    def __init__(self, curve: CostOfRows, *, learns: bool = True):
        """Without `learns` it is the curve alone: in a batch a forward waits for other runs."""
        self._curve = curve
        self._learns = learns
        self._pace = Pace()
        self._rest_s = Recent(0.0)

    def __call__(self, rows: int) -> float:
        return self._pace.value * self._curve(rows) + self._rest_s.value

    def learn(self, rows: int, verify_s: float, rest_s: float) -> None:
        """Takes in a step."""
        if self._learns:
            self._pace.learn_time(verify_s, self._curve(rows))
            self._rest_s.learn(rest_s)
