"""Makes scripted engines in a worker's process; what to do is in the target's name."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from app.engine_seat import EngineKey, EngineLike, Progress
from core.errors import ModelUnavailableError
from tests.app.scripted_engine import ScriptedEngine


class LosingEngine(ScriptedEngine):
    """Loses its GPU at the end of a run."""

    def run(self, *args: Any, **named: Any) -> Iterator[Any]:
        self.is_usable = False
        return super().run(*args, **named)


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
    if key.target == "losing":
        return LosingEngine()
    return ScriptedEngine(step_s=0.02, unavailable={"layer-skip": "layer-skip needs other layers."})
