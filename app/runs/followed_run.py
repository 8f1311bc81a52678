"""One of the runs that a lab or a comparison makes in turn, followed to its end."""

import threading
import time
from collections.abc import Callable

from app.engines.model_pool import ModelPool
from app.runs.handlers import HEARTBEAT_S
from app.runs.run import Run
from app.runs.watchers import GIVEN_UP, Watchers

_PROGRESS_PAUSE_S = 0.1


def follow_run(
    record: Run,
    pool: ModelPool,
    stop: threading.Event,
    watchers: Watchers,
    tell: Callable[[], None],
) -> str:
    """Tells how far it is, again and again; returns why it was stopped, empty where it was not.

    Whoever calls is among the run's own watchers. It is stopped where `stop` is set, which happens here
    as well: once nobody is left of the `watchers` and it only keeps others from an engine.
    """
    ending = "Stopped"
    version = -1
    while not record.is_ended:
        version = record.wait(version, HEARTBEAT_S)
        if record.is_running and pool.fair_queue.has_waiting and watchers.have_left:
            ending = GIVEN_UP
            stop.set()
        if stop.is_set():
            record.stop.set()
        tell()
        time.sleep(_PROGRESS_PAUSE_S)
    return ending if record.stop.is_set() else ""
