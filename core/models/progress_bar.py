"""Progress of getting and loading a model, as a bar on the terminal's stderr."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Shows one line while work goes on, and takes it away at the end. Silent without a terminal."""

    def __init__(self, name: str):
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._name = name
        self._task = self._bar.add_task(name, total=None)

    def show(self, stage: str, done: int, total: int) -> None:
        """Implements `core.models.storage.Progress`."""
        self._bar.update(
            self._task, description=f"{self._name}: {stage}", completed=done, total=total or None
        )

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
