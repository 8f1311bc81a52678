"""The program's cache folder: where it is, and how files come into it whole or not at all."""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import InvalidSettingError, ModelUnavailableError
from core.runtime.json_cache import load_json, save_json
from core.runtime.scratch import can_be_made, homeless_folder
from core.runtime.strict_json import dumps

# Stage, what is done, and of how much; 0 of 0 where that is not known.
Progress = Callable[[str, int, int], None]

_VARIABLE = "SPECDECODES_HOME"
_LOCK_POLL_S = 0.5
_WEIGHTS = (".safetensors", ".bin")


def no_progress(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


def cache_home() -> Path:
    """`SPECDECODES_HOME`, else `specdecodes` in the user's cache folder.

    It may be one that is only read (see `core.runtime.scratch`). A user without a home folder gets
    one among the temporary files. Raises InvalidSettingError for a chosen one that cannot be used,
    and StorageError where there is none.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        return _chosen_home(chosen)
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "specdecodes"
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if sys.platform not in ("darwin", "win32") and xdg.is_absolute():
        return xdg / "specdecodes"
    try:
        home = Path.home()
    except RuntimeError:
        return homeless_folder()
    below = {"darwin": "Library/Caches", "win32": "AppData/Local"}.get(sys.platform, ".cache")
    return home / below / "specdecodes"


def _chosen_home(text: str) -> Path:
    advice = f"set {_VARIABLE} to a folder that is there or can be made"
    try:
        home = Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidSettingError(
            f"{_VARIABLE} is {text}, and nobody has that name; {advice}."
        ) from error
    try:
        if home.exists() and not home.is_dir():
            raise InvalidSettingError(f"{_VARIABLE} is {home}, which is a file; {advice}.")
        if not home.exists() and not can_be_made(home):
            raise InvalidSettingError(f"{_VARIABLE} is {home}, which cannot be made; {advice}.")
    except OSError as error:  # within a folder that may not be looked into
        raise InvalidSettingError(
            f"{_VARIABLE} is {home}, which cannot be read ({error.strerror}); {advice}."
        ) from error
    return home


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """Hex digest of a file's bytes, computed once for each state of the file: size and times."""
    stat = path.stat()
    state = [str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    folder, key = cache_home() / "checked", dumps(state)
    known = load_json(folder, key)
    if isinstance(known, dict) and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    digest = file_sha256(path)
    save_json(folder, key, {"sha256": digest})
    return digest


def weights_sha256(place: Path) -> str:
    """Changes with the weights in a folder and with their configuration, or with a file that has both,
    and with nothing else."""
    if place.is_file():
        return known_sha256(place)
    paths = [path for path in place.iterdir() if path.suffix in _WEIGHTS]
    files = [(path.name, known_sha256(path)) for path in sorted([*paths, place / "config.json"])]
    return hashlib.sha256(dumps(files).encode()).hexdigest()


@contextlib.contextmanager
def exclusive(path: Path, progress: Progress) -> Iterator[None]:
    """Lets one process at a time work on `path`; the others wait and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"))
    while True:
        try:
            lock.acquire(timeout=_LOCK_POLL_S)
            break
        except Timeout:
            progress("waiting for another process that prepares this model", 0, 0)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when all went well and vanishes otherwise.

    Call it under `exclusive(path)`: what killed processes left half done is removed.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    for left_over in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        shutil.rmtree(left_over, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def told_if_full(folder: Path) -> Iterator[None]:
    """Turns a full or forbidden disk into ModelUnavailableError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelUnavailableError(
                f"the disk that holds {folder} is full; free some space, or set SPECDECODES_HOME "
                "to a folder on another disk."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ModelUnavailableError(
                f"{error.filename or folder} cannot be written; set SPECDECODES_HOME to a folder "
                "that can."
            ) from error
        raise


def check_free_space(folder: Path, num_bytes: int) -> None:
    """Raises ModelUnavailableError where the disk of `folder` has less room than that."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ModelUnavailableError(
            f"preparing the model needs {num_bytes / 1e9:.1f} GB and {folder} has "
            f"{free / 1e9:.1f} GB free; free some space, or set SPECDECODES_HOME to a folder on "
            "another disk."
        )
