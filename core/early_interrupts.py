"""Interrupts while a command is still being imported: one word, as `core.console` has it later."""

import contextlib
import os
import signal
from types import FrameType

_STDERR = 2


def end_by_interrupts() -> None:
    """An interrupt ends the program at once; not where another handler was set, or none is wanted."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Nothing has begun that would have to be brought to an end."""
    with contextlib.suppress(OSError):  # it may be closed
        os.write(_STDERR, b"stopped\n")
    os._exit(128 + number)
