"""Interrupts while a command is still being imported: one word, as `core.runtime.console` has it later.

It imports next to nothing, for until it has, an interrupt is a traceback.
"""

import os
import signal

_STDERR = 2


def end_by_interrupts() -> None:
    """An interrupt ends the program at once; not where another handler was set, or none is wanted."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def end_at_once(number: int, frame: object) -> None:
    """Nothing has begun that would have to be brought to an end."""
    try:  # noqa: SIM105 (contextlib is large)
        os.write(_STDERR, b"stopped\n")
    except OSError:  # it is closed
        pass
    os._exit(128 + number)
