"""Short keys for loaded models, under which what was made from them is kept and found."""

import hashlib
import json

from core.models.loading import LoadedModel


def model_key(model: LoadedModel) -> str:
    """Changes with what the model computes: its source, and how its weights are packed."""
    packing = "" if model.weights == "full" else f"{model.weights}:"
    return packing + source_key(model)


def source_key(model: LoadedModel) -> str:
    """Changes with the source: the hash of its file, else its files' names and times.

    Drafters belong to a source, however its weights are packed.
    """
    if model.identity.sha256 is not None:
        return model.identity.sha256
    files = [
        (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(model.source.folder.glob("*"))
        if path.is_file()
    ]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
