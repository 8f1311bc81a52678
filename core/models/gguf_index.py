"""Where the tensors of a GGUF file lie; read once, for its vocabulary takes seconds to walk over."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.models.storage import cache_home, known_sha256
from core.runtime.json_cache import load_json, save_json
from core.strict_json import dumps


class GgufTensor(NamedTuple):
    """A tensor in the file's memory map."""

    type_name: str
    """Q4_1, F32, ..."""
    data: np.ndarray[Any, Any]
    """Rows of numbers, or of the bytes of their blocks."""


class GgufFile(NamedTuple):
    """What is needed of a file beside its tokenizer."""

    architecture: str
    tensors: dict[str, GgufTensor]


def open_gguf(path: Path) -> GgufFile:
    """Maps a file; the index of its content is kept in the cache folder."""
    key = dumps(["gguf", known_sha256(path)])
    folder = cache_home() / "gguf-index"
    index = load_json(folder, key)
    file = None if index is None else _mapped(path, index)
    if file is None:
        index = _walk(path)
        save_json(folder, key, index)
        file = _mapped(path, index)
        assert file is not None, "it was written this moment"
    return file


def _walk(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    reader = GGUFReader(path)
    field: Any = reader.get_field("general.architecture")
    return {
        "architecture": field.contents(),
        "tensors": {
            tensor.name: [
                tensor.tensor_type.name,
                str(tensor.data.dtype),
                list(tensor.data.shape),
                int(tensor.data_offset),
            ]
            for tensor in reader.tensors
        },
    }


def _mapped(path: Path, index: Any) -> GgufFile | None:
    """The file by its index; None where the index is not one."""
    whole = np.memmap(path, dtype=np.uint8, mode="r")
    try:
        tensors = {
            name: GgufTensor(type_name, _part(whole, dtype, shape, offset))
            for name, (type_name, dtype, shape, offset) in index["tensors"].items()
        }
        return GgufFile(str(index["architecture"]), tensors)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _part(
    whole: np.ndarray[Any, Any], dtype: str, shape: list[int], offset: int
) -> np.ndarray[Any, Any]:
    number = np.dtype(dtype)
    num_bytes = int(np.prod(shape)) * number.itemsize
    return whole[offset : offset + num_bytes].view(number).reshape(shape)
