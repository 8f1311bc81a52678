"""Whether a GGUF file is large enough for what its header says.

Readers believe the counts of a header and walk on for as many entries, also behind the end of the
file; a few wrong bytes would keep them busy for ever. (Layout: ggml's gguf.md, versions 2 and 3.)
"""

import mmap
import struct
from pathlib import Path

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
# Bytes of a value by the number of its type.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_DIMENSIONS = 8
_MOST_NESTING = 4


def check_gguf(path: Path) -> None:
    """Raises ValueError with a reason where the header cannot be true; OSError as the system does."""
    if path.stat().st_size < len(_MAGIC):
        raise ValueError("the file is too short")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("it does not begin with GGUF")
        _Walk(data).header()


class _Walk:
    """Goes over a header from field to field and never behind the end."""

    def __init__(self, data: mmap.mmap):
        self._data = data
        self._place = len(_MAGIC)

    def header(self) -> None:
        version = self._number("<I")
        if version not in (2, 3):
            raise ValueError(f"it has version {version}, which is not 2 or 3")
        # The shortest tensor is told in 32 bytes, the shortest value in 13.
        num_tensors, num_values = self._count(32), self._count(13)
        for _ in range(num_values):
            self._string()
            self._value(self._number("<I"))
        for _ in range(num_tensors):
            self._string()
            num_dimensions = self._number("<I")
            if num_dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor has {num_dimensions} dimensions")
            self._skip(8 * num_dimensions + 12)

    def _value(self, kind: int, nesting: int = 0) -> None:
        if kind == _STRING:
            self._string()
        elif kind == _ARRAY and nesting < _MOST_NESTING:
            inner = self._number("<I")
            size = _SIZES.get(inner)
            if size is not None:
                self._skip(size * self._number("<Q"))
                return
            for _ in range(self._count(8)):
                self._value(inner, nesting + 1)
        elif kind in _SIZES:
            self._skip(_SIZES[kind])
        else:
            raise ValueError(f"a value has the unknown type {kind}")

    def _string(self) -> None:
        self._skip(self._number("<Q"))

    def _count(self, least_bytes: int) -> int:
        """A number of entries, each of which takes at least so many bytes."""
        count = self._number("<Q")
        left = len(self._data) - self._place
        if count > left // least_bytes:
            raise ValueError(f"it tells of {count} entries and has {left} bytes for them")
        return count

    def _number(self, form: str) -> int:
        start = self._place
        self._skip(struct.calcsize(form))
        return int(struct.unpack_from(form, self._data, start)[0])

    def _skip(self, num_bytes: int) -> None:
        if num_bytes > len(self._data) - self._place:
            raise ValueError("the file ends in the middle of its header")
        self._place += num_bytes
