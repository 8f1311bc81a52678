"""Importing large packages without the garbage collector, and interrupts, in the way."""

import contextlib
import gc
import signal
import threading
from collections.abc import Iterator

from core.runtime.early_interrupts import end_at_once


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Torch makes some million objects that stay; the collector would walk over them again and
    again while it is imported, and later in the middle of runs.

    An interrupt ends the program at once: torch's C++ aborts where it is raised in its midst, and
    other packages swallow it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with _ended_by_interrupts():
            yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Not where they are ignored, and not in other threads, which hear of none."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
