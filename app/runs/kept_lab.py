"""A lab that is opened again, from profiles that were kept."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from app.runs.lab_profiles import MOST_MODES, MOST_PROMPTS, Asked, Lab, ProfiledMode, own_questions
from app.runs.run_finder import RunFinder
from core.errors import InvalidSettingError
from core.profile.profile import Profile, profile_of
from core.trace.events import ProfileStarted, RunStarted
from core.trace.file import Trace

_MOST = MOST_MODES * MOST_PROMPTS
_OF_ONE = "choose those of one measurement."


def kept_lab(finder: RunFinder, visitor: str | None, run_ids: Sequence[str]) -> Lab:
    """The lab of profiles that a visitor has kept, as it was when they were made.

    Raises InvalidSettingError for runs that there are not, that are no profiles, and for profiles that
    are not of one measurement; TraceFormatError for one that does not open.
    """
    if not 1 <= len(run_ids) <= _MOST:
        raise InvalidSettingError(f"{len(run_ids)} profiles are chosen; choose 1 to {_MOST}.")
    # Those of a prompt that was asked first come first.
    kept = sorted((_kept(finder, visitor, run_id) for run_id in run_ids), key=_began)
    _check_one(kept)
    prompts = list(dict.fromkeys(each.prompt for each in kept))
    modes = {each.profile.config.mode: ProfiledMode(each.profile.config.mode) for each in kept}
    for what, number, most in (
        ("drafters", len(modes), MOST_MODES),
        ("prompts", len(prompts), MOST_PROMPTS),
    ):
        if number > most:
            raise InvalidSettingError(
                f"The chosen profiles are of {number} {what}; at most {most} fit."
            )
    for each in kept:
        mode, place = modes[each.profile.config.mode], prompts.index(each.prompt)
        if place in mode.profiles:
            raise InvalidSettingError(
                f"Two of the chosen profiles are of {mode.name} on the same prompt; leave one out."
            )
        mode.config = each.profile.config
        mode.take(place, each.run_id, each.profile)
    if not set.intersection(*(set(mode.profiles) for mode in modes.values())):
        raise InvalidSettingError(
            "No prompt has a profile of every chosen drafter; choose more profiles, or fewer drafters."
        )
    return Lab(list(modes.values()), _asked(text for text, _ in prompts), visitor)


class _Kept(NamedTuple):
    """A profile that was found."""

    run_id: str
    started: RunStarted
    profile: Profile

    @property
    def prompt(self) -> tuple[str, tuple[int, ...]]:
        return self.started.prompt_text, tuple(self.started.prompt_token_ids)


def _began(each: _Kept) -> str:
    return each.started.started_at


def _kept(finder: RunFinder, visitor: str | None, run_id: str) -> _Kept:
    found = finder.find(visitor, run_id)
    if found is None:
        raise InvalidSettingError("A profile is not kept any more; choose others under Runs.")
    trace: Trace = found.trace
    started = trace.first(RunStarted)
    if started is None or trace.first(ProfileStarted) is None:
        raise InvalidSettingError("A chosen run is no profile; choose those that the Lab measured.")
    return _Kept(run_id, started, profile_of(trace))


def _check_one(kept: Sequence[_Kept]) -> None:
    """Raises InvalidSettingError where figures side by side would not be of the same thing."""
    if _differ((each.profile.config.plain(), _machine(each.started)) for each in kept):
        raise InvalidSettingError(
            "The chosen profiles differ in target, machine, or what is asked of an answer, such as its "
            f"length; {_OF_ONE}"
        )
    for mode in {each.profile.config.mode for each in kept}:
        if _differ(each.profile.config for each in kept if each.profile.config.mode == mode):
            raise InvalidSettingError(
                f"The chosen profiles of {mode} differ in their settings; {_OF_ONE}"
            )
    for prompt in {each.prompt for each in kept}:
        if _differ(tuple(each.profile.token_ids) for each in kept if each.prompt == prompt):
            raise InvalidSettingError(
                "The chosen profiles of one prompt have different answers, as where one was stopped; "
                f"{_OF_ONE}"
            )


def _machine(started: RunStarted) -> tuple[Any, ...]:
    return started.target.get("sha256"), started.device


def _differ(values: Iterable[object]) -> bool:
    return len(set(values)) > 1


def _asked(prompts: Iterable[str]) -> list[Asked]:
    """Own questions under their categories; each prompt that was typed is one of its own."""
    own = {each.turns[0]: each.category for each in own_questions()}
    return [
        Asked(prompt, own.get(prompt, f"prompt {number}"))
        for number, prompt in enumerate(prompts, start=1)
    ]
