"""A lab in the making: profiles of several prompts under several modes, one after the other."""

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from app.engines.chat import single_chat
from app.messages import LabMode, LabProgress
from app.runs.handlers import HEARTBEAT_S, Handlers
from app.runs.run import Run
from app.runs.run_form import config_from_values
from app.runs.texts import checked_text
from app.runs.watchers import Newest
from core.config import RunConfig
from core.decoding.failures import describe_failure
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.modes.registry import modes
from core.modes.settings import DrafterSettings
from core.profile.acceptance_scale import AS_MEASURED
from core.profile.costs import Costs, at_one_pace
from core.profile.prediction import quick_candidates
from core.profile.profile import Profile, profile_of
from core.profile.side_by_side import Looked
from core.profile.tally import tally_of
from core.runtime.strict_json import dumps

MOST_MODES = 6
MOST_PROMPTS = 12
MOST_OWN_QUESTIONS = 8
_PROGRESS_PAUSE_S = 0.1
_NOTHING = (
    "Nothing was measured; each drafter says why. Change the settings or choose other drafters, and "
    "measure again."
)

_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A prompt, and the category under which its tokens are counted."""

    prompt: str
    category: str


class Measured(NamedTuple):
    """What there is of one mode."""

    profiles: list[Profile]
    categories: list[str]
    """One for each profile."""


def profiled_modes() -> tuple[str, ...]:
    """Modes that draft here, and so may have a profile."""
    return tuple(
        name for name, mode in modes().items() if mode.factory is not None and not mode.is_elsewhere
    )


def asked_of(text: str, num_own: Any) -> list[Asked]:
    """The prompts, a line each, then so many of the project's own questions, by category in turn.

    Raises InvalidSettingError for none and for too many.
    """
    from core.benchmark.question_sets import OWN, questions_file
    from core.benchmark.questions import load_questions, pick_questions

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
        own = pick_questions(load_questions(questions_file(OWN)), limit=num_own)
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


class _Mode:
    """A mode of a lab: its settings and what was measured, or why not."""

    def __init__(self, name: str, values: dict[str, Any]):
        self.name = name
        self.refused = ""
        self.config: RunConfig | None = None
        self.profiles: dict[int, Profile] = {}
        """By the place of their prompt."""
        self.costs: dict[int, Costs] = {}
        """As they were when each was made."""
        try:
            self.config = config_from_values({**values, "mode": name})
        except SpecDecodesError as error:
            self.refused = str(error)

    def told(self) -> LabMode:
        return {"mode": self.name, "num_measured": len(self.profiles), "refused": self.refused}


class LabRun:
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
        self.lab_id = secrets.token_urlsafe(16)
        self.visitor = visitor
        self._handlers = handlers
        self._asked = list(asked)
        self._owner = owner
        self._raw = raw
        self._modes = [_Mode(name, values) for name in _checked(names)]
        for mode in self._modes:
            self._check(mode)
        if all(mode.refused for mode in self._modes):
            raise InvalidSettingError(self._modes[0].refused)
        self._stop = threading.Event()
        self._newest = Newest(_Word("Waiting for the engine"))
        threading.Thread(target=self._run, name="lab", daemon=True).start()

    def _check(self, mode: _Mode) -> None:
        if mode.config is not None:
            try:
                self._handlers.check(mode.config, self._owner)
            except SpecDecodesError as error:
                mode.refused = str(error)

    def stop(self) -> None:
        """Ends it within one step; what was measured stays."""
        self._stop.set()

    def follow(self) -> Iterator[str]:
        """How far it is, again and again, up to its end."""
        for word in self._newest.follow(HEARTBEAT_S):
            yield dumps(self._progress(word))
            if word.is_over:
                return

    @property
    def is_over(self) -> bool:
        return self._newest.word.is_over

    def _progress(self, word: "_Word") -> LabProgress:
        told = [mode.told() for mode in self._modes]
        return {
            "lab": self.lab_id,
            "modes": told,
            "status": word.status,
            "done": sum(mode["num_measured"] for mode in told),
            "total": len(self._asked) * sum(not mode["refused"] for mode in told),
            "is_over": word.is_over,
            "failure": word.failure,
        }

    def _run(self) -> None:
        try:
            for place in range(len(self._asked)):
                for mode in self._modes:
                    if not mode.refused and not self._stop.is_set():
                        self._one(place, mode)
            has_some = any(mode.profiles for mode in self._modes)
            failure = "" if has_some or self._stop.is_set() else _NOTHING
        except Exception as error:
            _log.exception("a lab broke")
            failure = f"The lab broke: {describe_failure(error)}; measure again."
        status = "Stopped" if self._stop.is_set() else "Failed" if failure else "Measured"
        self._newest.tell(_Word(status, is_over=True, failure=failure))

    def _one(self, place: int, mode: _Mode) -> None:
        """Makes one profile."""
        assert mode.config is not None, "a mode without one was refused"
        prompt = self._asked[place].prompt
        store = self._handlers.store
        record = store.create(prompt, mode.name)
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
            version = -1
            while not record.is_ended:
                version = record.wait(version, HEARTBEAT_S)
                if self._stop.is_set() or self._is_left(record):
                    self.stop()
                    record.stop.set()
                self._newest.tell(_Word(self._words(place, mode, record)))
                time.sleep(_PROGRESS_PAUSE_S)
        if record.failure:
            mode.refused = record.failure
        elif not record.stop.is_set():
            self._take(place, mode, record)
        # It is kept on disk, as far as it is kept at all.
        store.drop([record.run_id])

    def _take(self, place: int, mode: _Mode, record: Run) -> None:
        try:
            profile = profile_of(record.snapshot())
            for settings in looked_at(Measured([profile], [""])).settings:
                if getattr(settings, "fixed_size", False):  # known before anybody asks
                    tally_of(profile, settings, profile.costs, AS_MEASURED)
        except SpecDecodesError as error:
            mode.refused = str(error)
            return
        mode.costs[place] = profile.costs
        mode.profiles[place] = profile

    def _is_left(self, record: Run) -> bool:
        """Whether it only keeps others from an engine."""
        has_waiting = self._handlers.pool.fair_queue.has_waiting
        return record.is_running and has_waiting and self._newest.watchers.have_left

    def _words(self, place: int, mode: _Mode, record: Run) -> str:
        which = f", prompt {place + 1} of {len(self._asked)}" if len(self._asked) > 1 else ""
        what = f"{record.num_tokens} tokens" if record.num_tokens else record.status_text
        return f"{mode.name}{which}: {what}"

    def measured(self) -> dict[str, Measured]:
        """By mode, on the prompts that all of them have, at one pace.

        Raises InvalidSettingError where there is nothing yet.
        """
        shown_modes = [mode for mode in self._modes if mode.profiles and not mode.refused]
        if not shown_modes:
            raise InvalidSettingError("Nothing is measured yet; measure a prompt first.")
        common = set.intersection(*(set(mode.profiles) for mode in shown_modes))
        places = sorted(common)
        own = [mode.profiles[place] for mode in shown_modes for place in places]
        made = [mode.costs[place] for mode in shown_modes for place in places]
        for profile, costs in zip(own, at_one_pace(made), strict=True):
            profile.costs = costs
        return {
            mode.name: Measured(
                [mode.profiles[place] for place in places],
                [self._asked[place].category for place in places],
            )
            for mode in shown_modes
        }


def looked_at(measured: Measured) -> Looked:
    """A mode with the settings that the page looks at."""
    most = most_of(measured)
    return Looked(measured.profiles, list(quick_candidates(most)))


def most_of(measured: Measured) -> DrafterSettings:
    """The largest settings that were measured."""
    most = measured.profiles[0].config.drafter
    assert most is not None, "what drafts nothing has no profile here"
    return most


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
