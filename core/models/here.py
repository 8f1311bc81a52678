"""What is on this machine already, so that it loads without network."""

from pathlib import Path
from typing import NamedTuple

from core.errors import ModelUnavailableError
from core.models.catalogue import CATALOGUE
from core.models.download import packaged_file
from core.models.hub import cached_models
from core.models.size import model_size
from core.models.sources import local_path, packaged_folder
from core.models.weight_files import CONFIG

_MOST_NEIGHBOURS = 30


class ModelHere(NamedTuple):
    """A model whose files are here."""

    name: str
    """By which it is loaded."""
    path: Path
    """Its folder, or its GGUF file."""
    num_parameters: int


def models_here() -> list[ModelHere]:
    """Models of the catalogue and of the hub that were fetched before."""
    found = []
    for name, model in CATALOGUE.items():
        file = packaged_file(model, packaged_folder(name))
        if file is not None:
            found.append(ModelHere(name, file, model.num_parameters))
    for cached in cached_models():
        first = cached.weights[0]
        path = first if first.suffix.lower() == ".gguf" else first.parent
        found += _sized(cached.repo, path)
    return found


def neighbours(name: str) -> list[ModelHere]:
    """Models beside a folder or file that is named by its path; none for other names."""
    path = local_path(name)
    if path is None:
        return []
    try:
        others = sorted(other for other in path.absolute().parent.iterdir() if _is_model(other))
    except OSError:  # a folder that may be entered and not listed
        return []
    # What is named by hand may stand anywhere, as beside thousands of files.
    return [
        found
        for other in others[:_MOST_NEIGHBOURS]
        if other != path.absolute()
        for found in _sized(str(other), other)
    ]


def _is_model(path: Path) -> bool:
    return path.suffix.lower() == ".gguf" or (path / CONFIG).is_file()


def _sized(name: str, path: Path) -> list[ModelHere]:
    """Nothing where the files are broken."""
    try:
        return [ModelHere(name, path, model_size(str(path)).num_parameters)]
    except ModelUnavailableError:
        return []
