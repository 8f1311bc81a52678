"""Branches: runs whose answer begins as that of another run and goes on from tokens that were chosen.

Everything is told by token ids, never by text, which might be parted into other tokens. Opens without
torch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.errors import InvalidSettingError, shown
from core.trace.events import RunStarted
from core.trace.file import Trace


class Fork(NamedTuple):
    """Where a branch leaves the answer of its parent, and what it begins with."""

    parent: str
    """Id of the run that it is a branch of."""
    target: dict[str, Any]
    """Identity of that run's target, whose token ids these are."""
    prompt_text: str
    prompt_token_ids: list[int]
    position: int
    """Place in the answer, from 0, of the first token that was chosen."""
    token_ids: list[int]
    """Beginning of the answer: those before `position` are the parent's, the others were chosen."""


def fork_of(trace: Trace, position: int, token_ids: int | Sequence[int]) -> Fork:
    """The branch that has `token_ids` at `position` of a run's answer, in place of its own tokens.

    `position` counts from 0, the answer of a branch from its very beginning. Of several token ids those
    that the answer has there itself count as its own, so that a path of a draft tree may be given from
    its step's first token on. Raises InvalidSettingError for what is no place or no token of the run.
    """
    started = trace.first(RunStarted)
    if started is None:
        raise InvalidSettingError(
            "the trace has no start, so that nothing goes on; give a whole one."
        )
    if started.server is not None:
        raise InvalidSettingError(
            "the run is an answer of a server, which cannot go on from token ids; give a run of a model "
            "that was loaded here."
        )
    chosen = [token_ids] if isinstance(token_ids, int) else list(token_ids)
    answer = trace.token_ids
    if not _is_count(position) or position > len(answer):
        raise InvalidSettingError(
            f"the position is {shown(position)} and the answer has {len(answer)} tokens; give one from "
            f"0 to {len(answer)}."
        )
    if not chosen or not all(map(_is_count, chosen)):
        wrong = next((token_id for token_id in chosen if not _is_count(token_id)), "none")
        raise InvalidSettingError(f"the token id is {shown(wrong)}; give whole numbers from 0 on.")
    while len(chosen) > 1 and answer[position : position + 1] == chosen[:1]:
        position, chosen = position + 1, chosen[1:]
    return Fork(
        parent=started.run_id,
        target=started.target,
        prompt_text=started.prompt_text,
        prompt_token_ids=started.prompt_token_ids,
        position=position,
        token_ids=answer[:position] + chosen,
    )


def fork_again(started: RunStarted) -> Fork | None:
    """The same branch once more; None for a run that is none."""
    if started.forked_at is None:
        return None
    return Fork(
        parent=started.parent,
        target=started.target,
        prompt_text=started.prompt_text,
        prompt_token_ids=started.prompt_token_ids,
        position=started.forked_at,
        token_ids=started.prefix_token_ids,
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
