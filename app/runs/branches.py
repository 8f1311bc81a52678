"""Branches of answers: what a run is asked that goes another way at a token of one that has ended."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from app.runs.run import Run
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.trace.events import RunStarted
from core.trace.fork import Fork, fork_of

# Drafted paths are no deeper; whoever asks may send anything.
MOST_CHOSEN = 256


class Branch(NamedTuple):
    """A run that is to be: the branch, and the settings of its parent."""

    fork: Fork
    config: RunConfig


def branch_of(parent: Run | None, position: Any, token_ids: Any) -> Branch:
    """The branch with `token_ids` at `position` of the parent's answer; see `core.trace.fork.fork_of`.

    Raises InvalidSettingError for a run that there is not, that goes on, or that has no such place.
    """
    if parent is None:
        raise InvalidSettingError(
            "There is no such run to go on from, or it is somebody else's; choose another one."
        )
    if not parent.is_ended:
        raise InvalidSettingError(
            "The answer is still being written; wait for its end or stop it, and then choose a token."
        )
    if not isinstance(token_ids, Sequence) or isinstance(token_ids, str):
        raise InvalidSettingError("The tokens are no list; give a list of token ids.")
    if len(token_ids) > MOST_CHOSEN:
        raise InvalidSettingError(
            f"{len(token_ids)} tokens are chosen; give at most {MOST_CHOSEN}."
        )
    trace = parent.snapshot()
    fork, started = fork_of(trace, position, token_ids), trace.first(RunStarted)
    assert started is not None, "it has branches"
    return Branch(fork, parent.config or RunConfig.from_dict(started.config))
