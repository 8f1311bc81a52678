"""Stands in for folders that cannot be written: what would go there goes into a temporary one.

A cache that was prepared, and is then read by a container or by another user, is complete or nearly
so. It is read where it is; what is missing is made in a folder of the user's own under the system's
temporary files, at the same path, and is found there again.
"""

import contextlib
import logging
import os
import stat
import tempfile
from pathlib import Path

from core.errors import StorageError

_ADVICE = "set SPECDECODES_HOME to a folder that can be written"

_told: set[Path] = set()
_log = logging.getLogger(__name__)


def places(path: Path) -> tuple[Path, ...]:
    """Where something made for a path may be found, in order."""
    try:
        scratch = _checked(_scratch_path())
    except (OSError, StorageError):
        return (path,)
    return path, _inside(scratch, path)


def writable(path: Path) -> Path:
    """The path itself where a file or folder can be made there, else its stand-in.

    That is told once. Raises StorageError where neither can be written.
    """
    if can_be_made(path):
        return path
    scratch = scratch_folder()
    _tell(f"{path.absolute().parent} cannot be written", scratch)
    return _inside(scratch, path)


def can_be_made(path: Path) -> bool:
    """Whether a file or folder of that name can be made, with the folders above it."""
    folder = path.absolute().parent
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    as_effective = os.access in os.supports_effective_ids
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=as_effective)


def writable_folder(folder: Path) -> Path:
    """As `writable`, of a folder in which files can be made."""
    return writable(folder / "file").parent


def scratch_folder() -> Path:
    """The user's own folder under the system's temporary files; made where there is none.

    Raises StorageError where it cannot be had.
    """
    try:
        path = _scratch_path()
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        return _checked(path)
    except OSError as error:
        raise StorageError(
            f"no temporary folder can be had ({error.strerror or error}); {_ADVICE}, and TMPDIR to "
            "another."
        ) from error


def _scratch_path() -> Path:
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"  # Windows has a folder for each
    return Path(tempfile.gettempdir()) / f"specdecodes-{user}"


def _checked(path: Path) -> Path:
    """The folder, if nobody else can have put anything there: programs are loaded from it."""
    found = path.lstat()
    is_own = not hasattr(os, "getuid") or (
        found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
    if not stat.S_ISDIR(found.st_mode) or not is_own:
        raise StorageError(f"{path} is no folder of this user alone; remove it, or {_ADVICE}.")
    return path


def _inside(scratch: Path, path: Path) -> Path:
    whole = path.absolute()
    return scratch / whole.relative_to(whole.anchor)


def homeless_folder() -> Path:
    """As `scratch_folder`, for a user without a home folder, who is told so."""
    scratch = scratch_folder()
    _tell("there is no home folder", scratch)
    return scratch


def _tell(reason: str, scratch: Path) -> None:
    """Once for each process."""
    if scratch not in _told:
        _told.add(scratch)
        _log.warning("%s, so what is made is kept in %s; %s.", reason, scratch, _ADVICE)
