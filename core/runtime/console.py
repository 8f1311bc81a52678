"""What all commands share at the console: what it cannot print, interrupts, and pipes that close."""

import contextlib
import errno
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TextIO

from core.runtime.early_interrupts import end_at_once
from core.runtime.strict_json import dumps

# What a shell reports for a program that an interrupt ended, and for one whose reader went away.
INTERRUPTED = 130
READER_GONE = 141


def run_command(main: Callable[[], int]) -> NoReturn:
    """Runs a command to its exit status; every command ends here.

    Characters that the console lacks are printed as "?". An interrupt is one word and status 130,
    and output that nobody reads any more, as behind `| head`, ends the command without a word.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, end_at_once):
        signal.signal(signal.SIGINT, _note)
    try:
        status = _status_of(main)
        _flush()
    except KeyboardInterrupt:
        status = _stopped()
    except BrokenPipeError:
        if not _is_unread():
            raise
        status = READER_GONE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"there is no room for what is written ({error.strerror}); make some.", file=sys.stderr
        )
        _throw_away(sys.stdout)
        status = 1
    except Exception:
        if not _is_noted:
            raise
        status = _stopped()  # what an interrupt left half done
    sys.exit(status)


_is_noted = False


def _note(number: int, frame: FrameType | None) -> None:
    """What handles an interrupt: as always, and it is remembered.

    Imports of large packages may swallow it, and go on with a part of them missing.
    """
    global _is_noted
    _is_noted = True
    raise KeyboardInterrupt


def _stopped() -> int:
    print("stopped", file=sys.stderr)
    return INTERRUPTED


def raise_if_interrupted() -> None:
    """Interrupts once more where an interrupt was swallowed; called as long work goes on."""
    if _is_noted:
        raise KeyboardInterrupt


def _status_of(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as end:  # help and bad options end so, with something to flush
        return end.code if isinstance(end.code, int) else 0


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _is_unread() -> bool:
    """Whether a reader of the output has gone; what is left for it is then thrown away."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
    for stream in gone:
        _throw_away(stream)
    return bool(gone)


def _throw_away(stream: TextIO) -> None:
    """What is still to be written would fail once more at the program's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _has_no_reader(stream: TextIO | None) -> bool:
    """Whether a stream leads into a pipe that nobody reads."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # type: ignore[union-attr]
        return any(found & select.POLLERR for _, found in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no stream, no file, or no such call
        return False


class Interrupt:
    """A stop flag for a run: the first interrupt raises it, so that the run ends within a step.

    One that was swallowed before the run counts.
    """

    def __init__(self) -> None:
        self._is_raised = False

    def __call__(self) -> bool:
        """Whether there was one."""
        return self._is_raised or _is_noted

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Where it is caught; a second interrupt ends the program as it always does."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread hears of signals
            return
        before = signal.getsignal(signal.SIGINT)

        def raise_flag(number: int, frame: FrameType | None) -> None:
            self._is_raised = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, raise_flag)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def json_line(values: dict[str, Any]) -> str:
    """An object on one line that every console and every encoding holds."""
    return dumps(values, ensure_ascii=True)
