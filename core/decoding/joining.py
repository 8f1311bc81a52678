"""A run that joins others; stands apart so that whoever hands one over needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from core.config import RunConfig
    from core.decoding.run_start import Prompt


def never() -> bool:
    """A stop flag that is never raised."""
    return False


class JoiningRun(NamedTuple):
    """A run that begins beside those that go on."""

    make_prompt: Callable[[], Prompt]
    """Called when it begins; what it raises ends this run alone."""
    config: RunConfig
    should_stop: Callable[[], bool] = never
