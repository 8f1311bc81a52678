"""A drafter that is right more often, or less often, than the measured one.

Wherever a draft has children for the next token of the text, it is right or wrong about that token.
Under a factor f below 1 a right one stays right with chance f; above 1 a wrong one becomes right with
chance 1 - 1/f. So a rate of acceptance a becomes f * a, or 1 - (1 - a) / f: nothing is ever right at 0,
and misses vanish as f grows. Factors do not cross: what one below 1 keeps, a larger one keeps, and what
one above 1 mends, a larger one mends.

The noise that decides hangs on prompt and place in the text alone. Every setting of every drafter meets
the same one.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.errors import InvalidSettingError, shown

MOST_FACTOR = 100.0


@dataclass(frozen=True, slots=True)
class AcceptanceScale:
    """How much more often a drafter is right. Raises InvalidSettingError for a factor that is no number
    from 0 to `MOST_FACTOR`."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.factor <= MOST_FACTOR:
            raise InvalidSettingError(
                f"the scale of acceptance is {shown(self.factor)}; give a number from 0, never "
                f"right, to {MOST_FACTOR:g}; 1 is as measured."
            )


AS_MEASURED = AcceptanceScale()


def broken(token_id: int) -> int:
    """An id that no text has, in the place of a right one; its own inverse, and never -1."""
    return -2 - token_id


@lru_cache(maxsize=1 << 16)
def _noise(key: int) -> float:
    """From [0, 1); every replay of every setting asks for the same ones."""
    return random.Random(key).random()


class ScaledAnswers:
    """Whether drafts about the tokens of a text are right, under a scale that is not 1."""

    def __init__(self, scale: AcceptanceScale, prompt_token_ids: Sequence[int]):
        self.mends = scale.factor > 1.0
        self._chance = 1.0 - 1.0 / scale.factor if self.mends else scale.factor
        words = ",".join(map(str, prompt_token_ids))
        self._key = zlib.crc32(words.encode()) << 32

    def is_right(self, position: int, was_right: bool) -> bool:
        """Of a draft about the token at a position of the text."""
        if was_right == self.mends:
            return was_right
        return _noise(self._key + position) < self._chance

    def scaled(self, children: Sequence[int], token_id: int, position: int) -> list[int]:
        """Drafted children, best first, about a token of the text: where they become wrong the right one
        is broken, and where they become right the best one is mended."""
        scaled = list(children)
        was_right = token_id in scaled
        if scaled and self.is_right(position, was_right) != was_right:
            place = scaled.index(token_id) if was_right else 0
            scaled[place] = broken(token_id) if was_right else token_id
        return scaled
