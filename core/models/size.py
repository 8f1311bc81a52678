"""How large a model is, from file headers alone: nothing is loaded, and of a hub model little read."""

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ModelUnavailableError, reason_of, shown
from core.models.catalogue import CATALOGUE
from core.models.download import packaged_file
from core.models.hub import find_files
from core.models.hub_name import HubName, hub_name
from core.models.sources import local_path, packaged_folder, unknown_name
from core.models.weight_files import weight_files

# Bytes of a weight in memory, by what a target may be loaded as. Packed ones count their scales.
BYTES_PER_WEIGHT = {"bfloat16": 2.0, "float32": 4.0, "q8": 1.125, "q4": 0.625}
_MOST_HEADER_BYTES = 100_000_000
# What readers of headers raise that say something else than they should.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError)


class ModelSize(NamedTuple):
    """What the headers say."""

    num_parameters: int
    fetched_bytes: int
    """What must still come over the network; 0 for files of this machine."""


def model_size(name: str) -> ModelSize:
    """By catalogue name, folder, .gguf file or hub id.

    Raises ModelUnavailableError with one sentence where nothing can be said.
    """
    if name in CATALOGUE:
        model = CATALOGUE[name]
        is_here = packaged_file(model, packaged_folder(name)) is not None
        return ModelSize(model.num_parameters, 0 if is_here else model.wheel_bytes)
    path = local_path(name)
    try:
        if path is not None and path.is_file() and path.suffix.lower() == ".gguf":
            return ModelSize(_gguf_parameters(path), 0)
        if path is not None and path.is_dir():
            return ModelSize(_folder_parameters(path), 0)
    except (*_BROKEN, RecursionError) as error:
        raise ModelUnavailableError(
            f"the size of {shown(name)} cannot be read ({error}); its files are broken or of "
            "another kind."
        ) from error
    on_hub = hub_name(name)
    if on_hub is not None:
        return _hub_size(name, on_hub)
    raise unknown_name(name)


def _folder_parameters(folder: Path) -> int:
    return sum(_count(_safetensors_header(path)) for path in weight_files(str(folder), folder))


def _safetensors_header(path: Path) -> dict[str, Any]:
    """The format: eight bytes of length, then JSON of that length."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER_BYTES:
            raise ValueError(f"{path.name} is no safetensors file")
        header: dict[str, Any] = json.loads(file.read(length))
    return header


def _count(header: dict[str, Any]) -> int:
    shapes: Iterable[list[int]] = (
        values["shape"] for name, values in header.items() if name != "__metadata__"
    )
    return sum(prod(shape) for shape in shapes)


def _gguf_parameters(path: Path) -> int:
    from core.models.gguf_index import open_gguf

    return sum(prod(tensor.shape) for tensor in open_gguf(path).tensors.values())


def _hub_size(name: str, on_hub: HubName) -> ModelSize:
    from huggingface_hub import get_safetensors_metadata

    files = find_files(on_hub)
    try:
        if files.info is None:
            raise ConnectionError("it cannot be reached")
        sizes = {file.rfilename: file.size or 0 for file in files.info.siblings}
        if files.is_gguf:
            num_parameters = int(files.info.gguf["total"])
        else:
            metadata = get_safetensors_metadata(files.repo, revision=files.revision)
            num_parameters = sum(metadata.parameter_count.values())
    except Exception as error:  # the hub's errors have no common class, and the network has its own
        reason = reason_of(error)
        raise ModelUnavailableError(
            f"the hub says nothing of the size of {name} ({reason}); check the id and the network."
        ) from error
    return ModelSize(num_parameters, sum(sizes.get(file, 0) for file in files.weights))
