"""Makes scripted engines in a worker's process; what to do is in the target's name."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from app.engines.engine_slot import EngineKey, EngineLike, Progress
from core.errors import ModelUnavailableError, SpecDecodesError, TraceFormatError
from tests.app.scripted_engine import ScriptedEngine


class LosingEngine(ScriptedEngine):
    """Loses its GPU at the end of a run."""

    def run(self, *args: Any, **named: Any) -> Iterator[Any]:
        self.is_usable = False
        return super().run(*args, **named)


class BreakingEngine(ScriptedEngine):
    """Breaks after some events of a run, outside what is told as events."""

    def run(self, *args: Any, **named: Any) -> Iterator[Any]:
        for number, event in enumerate(super().run(*args, **named)):
            if number == 5:
                raise ValueError("the fifth event")
            yield event

    def unavailable_reason(self, mode: str, draft: str | None = None) -> str | None:
        raise KeyError(mode)


class ForeignError(SpecDecodesError):
    """As a package from outside may have one: made of other words than its message."""

    def __init__(self, part: str, place: int):
        super().__init__(f"{part} is broken at {place}; mend it.")
        self.place = place


def load_scripted_worker(key: EngineKey, progress: Progress, number: int, count: int) -> EngineLike:
    """A module-level function, which the new process finds by its name."""
    progress("reading weights", number, count)
    if key.target == "missing":
        raise ModelUnavailableError("There is no model named missing; give another name.")
    if key.target == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    while key.target == "endless":
        progress("reading weights", 1, 2)
        time.sleep(0.01)
    if key.target == "broken":
        raise TraceFormatError("it is broken.", 3)
    if key.target == "foreign":
        raise ForeignError("the lens", 7)
    if key.target == "nameless":

        class LocalError(SpecDecodesError):
            """Nobody else can find it."""

        raise LocalError("It has no name; give it one.")
    if key.target == "full":
        raise OSError(28, "No space left on device")
    if key.target == "breaking":
        return BreakingEngine()
    if key.target == "losing":
        return LosingEngine()
    return ScriptedEngine(step_s=0.02, unavailable={"layer-skip": "layer-skip needs other layers."})
