"""A file of JSON objects, a line each, appended as they come; a kill costs at most the last one."""

import json
import os
from pathlib import Path
from typing import Any

from core.errors import InvalidSettingError, StorageError
from core.runtime.strict_json import dumps


class LineFile:
    """The file, and the lines that it held when it was opened."""

    def __init__(self, path: Path, settings: dict[str, Any], *, resume: bool, option: str):
        """`settings` decide the lines and stand in each: a file made with others is not gone on
        with. `option` is the option of the path, for messages.

        Raises InvalidSettingError for a file that exists already, unless `resume` is on, and for
        one that cannot be read or has other settings.
        """
        self.path = path
        self._option = option
        self._settings: dict[str, Any] = json.loads(dumps(settings))
        self.lines: list[dict[str, Any]] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                if not resume:
                    raise InvalidSettingError(
                        f"{path} exists already; give --resume to go on with it, or another "
                        f"{option}."
                    )
                self._read()
        except OSError as error:
            raise InvalidSettingError(
                f"{path} cannot be used ({error.strerror}); give another {option}."
            ) from error

    def _read(self) -> None:
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:end].splitlines(), start=1):
            try:
                values = json.loads(line)
                settings = values["settings"]
            except (ValueError, KeyError, TypeError) as error:
                raise self.foreign_line(number) from error
            if settings != self._settings:
                raise InvalidSettingError(
                    f"{self.path} was made with other settings; give those again, or another "
                    f"{self._option}."
                )
            self.lines.append(values)
        os.truncate(self.path, end)  # a line that a kill cut off is made anew

    def foreign_line(self, number: int) -> InvalidSettingError:
        """What to raise for a line, counted from 1, that holds something else."""
        return InvalidSettingError(
            f"{self.path}, line {number}: no command of this kind wrote it; give another "
            f"{self._option}."
        )

    def append(self, values: dict[str, Any]) -> None:
        """Writes a line with the settings through to the disk; raises StorageError where it is
        full."""
        line = dumps({**values, "settings": self._settings}, ensure_ascii=False)
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"{self.path} takes no more ({error.strerror}); make room and give --resume, which "
                "asks again what was not written."
            ) from error
