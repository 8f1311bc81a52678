"""Progress of getting and loading a model, as a bar on the terminal's stderr."""

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from core.runtime.console import raise_if_interrupted

if TYPE_CHECKING:
    from rich.progress import Progress

# Less is over before it is read, and importing the bar takes a part of it.
_DELAY_S = 1.0
# Stages that say how many bytes are done; others count files or layers.
_BYTE_STAGES = ("downloading", "reading weights")


class ProgressBar:
    """One line while work goes on that takes a second or more; gone at the end.

    Silent without a terminal.
    """

    def __init__(self, name: str):
        self._name = name
        self._state = ("", 0, 0)
        self._bar: Progress | None = None
        self._is_over = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(_DELAY_S, self._start)
        self._timer.daemon = True

    def show(self, stage: str, done: int, total: int) -> None:
        """Implements `core.runtime.storage.Progress`."""
        raise_if_interrupted()
        with self._lock:
            self._state = (stage, done, total)
            self._draw()

    def __enter__(self) -> "ProgressBar":
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.stop()
        if error is None:
            raise_if_interrupted()

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        with self._lock:
            if self._is_over:
                return
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[amount]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.add_task(self._name, total=None, amount="")
            self._bar.start()
            self._draw()

    def _draw(self) -> None:
        if self._bar is not None:
            stage, done, total = self._state
            self._bar.update(
                self._bar.task_ids[0],
                description=f"{self._name}: {stage}",
                completed=done,
                total=total or None,
                amount=amount_done(stage, done, total),
            )


def amount_done(stage: str, done: int, total: int) -> str:
    """How much of a stage is done, in its own unit; empty where that is not known."""
    if not total:
        return ""
    if stage in _BYTE_STAGES:
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
    return f"{done} of {total}"
