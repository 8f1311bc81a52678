"""How far a benchmark is: a bar on a terminal, and a line a task in the log."""

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_log = logging.getLogger(__name__)


class TaskProgress:
    """Counts tasks. The bar is on stderr and silent without a terminal; the log is for all."""

    def __init__(self, name: str, num_tasks: int):
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=num_tasks)
        self._num_tasks = num_tasks
        self._num_done = 0
        self._start_s = time.monotonic()

    def advance(self, what: str) -> None:
        """One more task is done; `what` is told in the log."""
        self._num_done += 1
        self._bar.advance(self._task)
        left_s = (time.monotonic() - self._start_s) / self._num_done
        left_s *= self._num_tasks - self._num_done
        _log.info("%s; %d of %d done, %.0f s left", what, self._num_done, self._num_tasks, left_s)

    def __enter__(self) -> "TaskProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
