"""A short key for what a loaded model computes, under which what was made from it is kept."""

import hashlib
import json

from core.models.loading import LoadedModel


def model_key(model: LoadedModel) -> str:
    """Changes with the weights: the hash of the source file, else its files' names and times."""
    packing = "" if model.weights == "full" else f"{model.weights}:"
    if model.identity.sha256 is not None:
        return packing + model.identity.sha256
    files = [
        (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(model.source.folder.glob("*"))
        if path.is_file()
    ]
    return packing + hashlib.sha256(json.dumps(files).encode()).hexdigest()
