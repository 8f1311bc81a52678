"""A GGUF model's files, mapped into memory: what their headers say, and where the tensors lie."""

import mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.models.gguf_header import TensorPlace, read_header
from core.models.gguf_shards import check_shard, shards_of
from core.models.gguf_tensors import GgufTensor

# Types whose numbers stand by themselves; all others come in blocks of bytes.
_NUMBERS = {
    "F16": np.float16, "F32": np.float32, "F64": np.float64, "I8": np.int8, "I16": np.int16,
    "I32": np.int32, "I64": np.int64,
}  # fmt: skip


class GgufFile(NamedTuple):
    """A model, all its shards together."""

    metadata: dict[str, Any]
    """Of the first shard, which has them all."""
    tensors: dict[str, GgufTensor]
    maps: list[mmap.mmap]
    """The memory that the tensors' data lie in, one for each shard."""

    def forget_pages(self) -> None:
        """Takes what was read of the files out of this process' memory; it is read again when it is
        asked for. Nothing happens on systems that don't offer it."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self.maps:
                mapped.madvise(mmap.MADV_DONTNEED)

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])


def open_gguf(path: Path) -> GgufFile:
    """Maps a model by any one of its files.

    Raises ValueError with a reason for what cannot be true and for a missing shard, and OSError as
    the system does.
    """
    shards = shards_of(path)
    metadata: dict[str, Any] = {}
    tensors: dict[str, GgufTensor] = {}
    maps = []
    for number, shard in enumerate(shards):
        header = read_header(shard)
        check_shard(header.metadata, number, len(shards))
        metadata = metadata or header.metadata
        with shard.open("rb") as opened:
            maps.append(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        whole = np.frombuffer(maps[-1], np.uint8)
        end = header.start
        for name, place in header.tensors.items():
            if name in tensors:
                raise ValueError(f"two of its shards have {name}")
            tensors[name] = _mapped(whole, name, place)
            # A tensor of another size than its numbers is told by the place of the next one.
            if place.offset != end:
                raise ValueError(f"its {name} does not begin where the tensor before it ends")
            end += -(-tensors[name].data.nbytes // header.alignment) * header.alignment
        if len(whole) > end:
            raise ValueError(f"it has {len(whole) - end} bytes behind its last tensor")
    if not isinstance(metadata.get("general.architecture"), str):
        raise ValueError("it does not say general.architecture")
    wanted = metadata.get("split.tensors.count", len(tensors))
    if wanted != len(tensors):
        raise ValueError(f"its shards have {len(tensors)} of {wanted} tensors")
    return GgufFile(metadata, tensors, maps)


def _mapped(whole: np.ndarray[Any, Any], name: str, place: TensorPlace) -> GgufTensor:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        kind = GGMLQuantizationType(place.type_number)
    except ValueError:
        raise ValueError(f"its {name} has the unknown type {place.type_number}") from None
    block, block_bytes = GGML_QUANT_SIZES[kind]
    *rows, width = place.shape or (1,)
    if width % block:
        raise ValueError(f"rows of its {name} are no whole blocks of {block}")
    num_bytes = place.num_numbers // block * block_bytes
    if place.offset + num_bytes > len(whole):
        raise ValueError(f"its {name} ends behind the end of the file")
    data = whole[place.offset : place.offset + num_bytes]
    number = _NUMBERS.get(kind.name)
    if number is None:
        data = data.reshape(*rows, width // block * block_bytes)
    else:
        data = data.view(number).reshape(place.shape)
    return GgufTensor(kind.name, place.shape, data)
