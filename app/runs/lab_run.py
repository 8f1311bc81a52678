"""A lab in the making: profiles of several prompts under several modes, one after the other."""

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from app.engines.chat import single_chat
from app.runs.followed_run import follow_run
from app.runs.handlers import HEARTBEAT_S, Handlers
from app.runs.lab_profiles import (
    MOST_MODES,
    MOST_PROMPTS,
    Asked,
    Lab,
    Measured,
    ProfiledMode,
    looked_at,
    own_questions,
)
from app.runs.run import Run
from app.runs.run_form import config_from_values
from app.runs.texts import checked_text
from app.runs.watchers import Newest
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.modes.registry import modes
from core.profile.acceptance_scale import AS_MEASURED
from core.profile.profile import profile_of
from core.profile.tally import tally_of
from core.runtime.strict_json import dumps
from core.trace.failures import describe_failure

MOST_OWN_QUESTIONS = 8
_NOTHING = (
    "Nothing was measured; each drafter says why. Change the settings or choose other drafters, and "
    "measure again."
)

_log = logging.getLogger(__name__)


def profiled_modes() -> tuple[str, ...]:
    """Modes that draft here, and so may have a profile."""
    return tuple(
        name for name, mode in modes().items() if mode.factory is not None and not mode.is_elsewhere
    )


def asked_of(text: str, num_own: Any) -> list[Asked]:
    """The prompts, a line each, then so many of the project's own questions, by category in turn.

    Raises InvalidSettingError for none and for too many.
    """
    from core.benchmark.questions import pick_questions

    if not isinstance(num_own, int) or not 0 <= num_own <= MOST_OWN_QUESTIONS:
        raise InvalidSettingError(
            f"own questions is {shown(num_own)}; give a number from 0 to {MOST_OWN_QUESTIONS}."
        )
    lines = [line.strip() for line in str(text or "").splitlines() if line.strip()]
    if not lines and not num_own:
        raise InvalidSettingError("There is no prompt; give one, or some of the own questions.")
    found = [
        Asked(checked_text(line, "prompt"), f"prompt {number}")
        for number, line in enumerate(lines, start=1)
    ]
    if num_own:
        own = pick_questions(own_questions(), limit=num_own)
        found += [Asked(question.turns[0], question.category) for question in own]
    if len(found) > MOST_PROMPTS:
        raise InvalidSettingError(f"{len(found)} prompts are given; at most {MOST_PROMPTS} fit.")
    return found


class _Word(NamedTuple):
    """How far a lab is."""

    status: str
    is_over: bool = False
    failure: str = ""
    """Why there is nothing to ask, and what to do."""


class LabRun(Lab):
    """Makes all profiles on a thread of its own; pages follow it, and ask what they predict.

    Prompts take turns, so that the first one is soon known of all modes. A mode that cannot be profiled
    says why, and the others go on.
    """

    def __init__(
        self,
        handlers: Handlers,
        names: Sequence[str],
        asked: Sequence[Asked],
        values: dict[str, Any],
        *,
        visitor: str | None,
        owner: str | None,
        raw: bool = False,
    ):
        """Begins; `values` are those of the form, for every mode. Raises SpecDecodesError where no mode
        can begin. With `raw` prompts are continued as they are."""
        super().__init__([ProfiledMode(name) for name in _checked(names)], asked, visitor)
        self._handlers = handlers
        self._owner = owner
        self._raw = raw
        for mode in self._modes:
            self._begin(mode, values)
        if all(mode.refused for mode in self._modes):
            raise InvalidSettingError(self._modes[0].refused)
        self._stop = threading.Event()
        self._newest = Newest(_Word("Waiting for the engine"))
        threading.Thread(target=self._run, name="lab", daemon=True).start()

    def _begin(self, mode: ProfiledMode, values: dict[str, Any]) -> None:
        try:
            mode.config = config_from_values({**values, "mode": mode.name})
            self._handlers.check(mode.config, self._owner)
        except SpecDecodesError as error:
            mode.refused = str(error)

    @property
    def is_over(self) -> bool:
        return self._newest.word.is_over

    def stop(self) -> None:
        """Ends it within one step; what was measured stays."""
        self._stop.set()

    def follow(self) -> Iterator[str]:
        for word in self._newest.follow(HEARTBEAT_S):
            yield dumps(self._progress(word.status, is_over=word.is_over, failure=word.failure))
            if word.is_over:
                return

    def _run(self) -> None:
        try:
            for place in range(len(self._asked)):
                for mode in self._modes:
                    if not mode.refused and not self._stop.is_set():
                        self._one(place, mode)
            has_some = any(mode.is_measured for mode in self._modes)
            failure = "" if has_some or self._stop.is_set() else _NOTHING
        except Exception as error:
            _log.exception("a lab broke")
            failure = f"The lab broke: {describe_failure(error)}; measure again."
        status = "Stopped" if self._stop.is_set() else "Failed" if failure else "Measured"
        self._newest.tell(_Word(status, is_over=True, failure=failure))

    def _one(self, place: int, mode: ProfiledMode) -> None:
        """Makes one profile."""
        assert mode.config is not None, "a mode without one was refused"
        prompt = self._asked[place].prompt
        store = self._handlers.store
        record = store.create(prompt, mode.name)

        def tell() -> None:
            self._newest.tell(_Word(self._words(place, mode, record)))

        pool, watchers = self._handlers.pool, self._newest.watchers
        with record.watchers.one_more():
            self._handlers.start(
                [record],
                [single_chat(prompt, raw=self._raw)],
                [mode.config],
                self.visitor,
                self._owner,
                memory=None,
                is_profile=True,
            )
            ending = follow_run(record, pool, self._stop, watchers, tell)
        if record.failure:
            mode.refused = record.failure
        elif not ending:
            self._take(place, mode, record)
        # It is kept on disk, as far as it is kept at all.
        store.drop([record.run_id])

    def _take(self, place: int, mode: ProfiledMode, record: Run) -> None:
        try:
            profile = profile_of(record.snapshot())
            for settings in looked_at(Measured([profile], [""])).settings:
                if getattr(settings, "fixed_size", False):  # known before anybody asks
                    tally_of(profile, settings, profile.costs, AS_MEASURED)
        except SpecDecodesError as error:
            mode.refused = str(error)
            return
        mode.take(place, record.run_id, profile)

    def _words(self, place: int, mode: ProfiledMode, record: Run) -> str:
        which = f", prompt {place + 1} of {len(self._asked)}" if len(self._asked) > 1 else ""
        what = f"{record.num_tokens} tokens" if record.num_tokens else record.status_text
        return f"{mode.name}{which}: {what}"


def _checked(names: Sequence[str]) -> list[str]:
    known = profiled_modes()
    if not isinstance(names, list) or not names:
        raise InvalidSettingError("No drafter is chosen; choose one or more.")
    for name in names:
        if name not in known:
            raise InvalidSettingError(f"mode {shown(name)} has no profile; choose another one.")
    if len(names) > MOST_MODES:
        raise InvalidSettingError(f"{len(names)} drafters are chosen; at most {MOST_MODES} fit.")
    return list(dict.fromkeys(names))
