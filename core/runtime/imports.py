"""Importing large packages without the garbage collector, and interrupts, in the way."""

import contextlib
import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from core.runtime.deferred_modules import deferred
from core.runtime.early_interrupts import end_at_once


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Torch makes some million objects that stay; the collector would walk over them again and
    again while it is imported, and later in the middle of runs. What it needs for tracing waits
    (`core.runtime.deferred_modules`).

    An interrupt ends the program at once: torch's C++ aborts where it is raised in its midst, and
    other packages swallow it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with _ended_by_interrupts(), deferred():
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


def read_torch_ahead() -> None:
    """Loads torch's largest library on a thread of its own: a quarter of torch's import, in which
    Python can go on with what needs no other library."""
    import numpy as np  # noqa: F401 (its own libraries would wait for that one)
    import tokenizers  # noqa: F401

    spec = find_spec("torch")
    if "torch" in sys.modules or spec is None or spec.origin is None:
        return
    for path in (Path(spec.origin).parent / "lib").glob("libtorch_cpu.*"):
        threading.Thread(target=_load, args=(path,), daemon=True).start()


def _load(path: Path) -> None:
    with contextlib.suppress(OSError):  # torch tells it, if it cannot be loaded then either
        ctypes.CDLL(str(path))
