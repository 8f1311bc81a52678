"""Makes the drafter of a run from its configuration. A new mode is one entry here."""

from collections.abc import Callable
from typing import Any

from core.config import RunConfig
from core.drafters.base import Drafter
from core.drafters.ngram import NgramDrafter

# For each mode, its drafter made from the drafter's settings; plain decoding has none.
_MAKERS: dict[str, Callable[[Any], Drafter] | None] = {
    "naive": None,
    "ngram": NgramDrafter,
}


def make_drafter(config: RunConfig) -> Drafter | None:
    """The drafter for a checked configuration."""
    maker = _MAKERS[config.mode]
    return None if maker is None else maker(config.drafter)
