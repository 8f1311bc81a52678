"""Writes a visitor's run down as it goes, so that not even a killed server loses what was emitted."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from app.runs.archive import Archive
from app.runs.run import Run
from core.errors import SpecDecodesError
from core.trace.events import Committed, Event, RunFailed, RunFinished, RunStarted
from core.trace.file import event_line, header_line, load_trace

_ENDING = ".open"
# What is between two of these is lost with the server.
_FLUSHED = (Committed, RunFinished, RunFailed)


class RunKeeper:
    """Implements `app.runs.run.RunSink`: at the end the run is on its visitor's shelf."""

    def __init__(self, archive: Archive, visitor: str | None, run_id: str):
        """Nothing is written for nobody."""
        self._archive = archive
        self._visitor = visitor
        self._run_id = run_id
        self._path: Path | None = None
        self._file: TextIO | None = None
        if visitor is not None:
            self._path = archive.place(visitor) / f"{run_id}.{os.getpid()}{_ENDING}"

    def add(self, event: Event) -> None:
        """Appends an event to the file of the running run, up to the first that does not fit."""
        try:
            if isinstance(event, RunStarted) and self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8", errors="replace", newline="\n")
                self._file.write(header_line() + "\n")
            if self._file is not None:
                self._file.write(event_line(event) + "\n")
                if isinstance(event, _FLUSHED):
                    self._file.flush()
        except OSError:  # the visitor is told at the end, when all of it is to be kept
            self._close()

    def end(self, run: Run) -> None:
        """Keeps the run; raises OSError where the disk does not take it.

        What was written down on the way then stays, and is kept at the next start.
        """
        self._close()
        if self._visitor is not None and self._path is not None:
            self._archive.keep(self._visitor, self._run_id, run.snapshot())
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        with suppress(OSError):  # what it held back does not fit either
            if file is not None:
                file.close()


def keep_interrupted(archive: Archive) -> int:
    """Puts the runs that killed servers left in the middle on their shelves; returns how many.

    Those of a server that still runs are its own.
    """
    import psutil

    count = 0
    for path in archive.folder.glob(f"*/*{_ENDING}"):
        run_id, _, pid = path.name.removesuffix(_ENDING).rpartition(".")
        if pid.isdecimal() and psutil.pid_exists(int(pid)) and int(pid) != os.getpid():
            continue
        try:
            trace = load_trace(path)
            if trace.events:
                archive.keep(path.parent.name, run_id, trace)
                count += 1
        except SpecDecodesError:
            pass  # nothing that could be read
        path.unlink(missing_ok=True)
    return count
