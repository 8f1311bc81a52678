"""What the header of a GGUF file says, where the file is large enough for it.

Readers believe the counts of a header and walk on for as many entries, also behind the end of the
file; a few wrong bytes would keep them busy for ever. (Layout: ggml's gguf.md, versions 2 and 3.)
"""

import mmap
import struct
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
# How a value is written by the number of its type, as `struct` says it.
_FORMS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"
}  # fmt: skip
_ALIGNMENT, _DEFAULT_ALIGNMENT = "general.alignment", 32
_MOST_DIMENSIONS = 8
_ENDS_EARLY = "the file ends in the middle of its header"
_MOST_NESTING = 4


class TensorPlace(NamedTuple):
    """A tensor as a header tells of it."""

    type_number: int
    shape: tuple[int, ...]
    """Rows first."""
    offset: int
    """Of its first byte in the file."""

    @property
    def num_numbers(self) -> int:
        return prod(self.shape)


class Header(NamedTuple):
    """What stands in front of the tensors' bytes."""

    metadata: dict[str, Any]
    """Arrays are lists."""
    tensors: dict[str, TensorPlace]
    """In the order in which the header has them."""
    start: int
    """Of the first tensor."""
    alignment: int
    """Tensors begin at its multiples."""


def read_header(path: Path) -> Header:
    """Raises ValueError with a reason where the header cannot be true; OSError as the system does."""
    if path.stat().st_size < len(_MAGIC):
        raise ValueError("the file is too short")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("it does not begin with GGUF")
        return _Walk(data).header()


class _Walk:
    """Goes over a header from field to field and never behind the end."""

    def __init__(self, data: mmap.mmap):
        self._data = data
        self._place = len(_MAGIC)

    def header(self) -> Header:
        version = self._number("I")
        if version not in (2, 3):
            raise ValueError(f"it has version {version}, which is not 2 or 3")
        # The shortest tensor is told in 32 bytes, the shortest value in 13.
        num_tensors, num_values = self._count(32), self._count(13)
        values: dict[str, Any] = {}
        for _ in range(num_values):
            key = self._string()
            if key in values:
                raise ValueError(f"it says {key[:60]} twice")
            values[key] = self._value(self._number("I"))
        places = [self._tensor() for _ in range(num_tensors)]
        tensors = dict(places)
        if len(tensors) < len(places):
            raise ValueError("it has two tensors of one name")
        alignment = values.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"its {_ALIGNMENT} is no power of two")
        start = -(-self._place // alignment) * alignment
        return Header(
            values,
            {name: place._replace(offset=start + place.offset) for name, place in tensors.items()},
            start,
            alignment,
        )

    def _tensor(self) -> tuple[str, TensorPlace]:
        """Its name, and where it is behind the header."""
        name, num_dimensions = self._string(), self._number("I")
        if num_dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {num_dimensions} dimensions")
        shape = tuple(reversed(self._numbers("Q", num_dimensions)))
        return name, TensorPlace(self._number("I"), shape, self._number("Q"))

    def _value(self, kind: int, nesting: int = 0) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY and nesting < _MOST_NESTING:
            inner = self._number("I")
            form = _FORMS.get(inner)
            if form is not None:
                return self._numbers(form, self._count(struct.calcsize(form)))
            if inner == _STRING:
                return self._strings(self._count(8))
            return [self._value(inner, nesting + 1) for _ in range(self._count(8))]
        if kind in _FORMS:
            return self._number(_FORMS[kind])
        raise ValueError(f"a value has the unknown type {kind}")

    def _string(self) -> str:
        return self._strings(1)[0]

    def _strings(self, count: int) -> list[str]:
        """Vocabularies have hundreds of thousands: one loop, and no call of our own in it."""
        found: list[str] = []
        data, place, length_of = self._data, self._place, _LENGTH.unpack_from
        for _ in range(count):
            start = place + _LENGTH.size
            if start > len(data):
                raise ValueError(_ENDS_EARLY)
            place = start + length_of(data, place)[0]
            if place > len(data):
                raise ValueError(_ENDS_EARLY)
            found.append(data[start:place].decode("utf-8"))
        self._place = place
        return found

    def _count(self, least_bytes: int) -> int:
        """A number of entries, each of which takes at least so many bytes."""
        count = int(self._number("Q"))
        left = len(self._data) - self._place
        if count > left // least_bytes:
            raise ValueError(f"it tells of {count} entries and has {left} bytes for them")
        return count

    def _number(self, form: str) -> Any:
        return self._numbers(form, 1)[0]

    def _numbers(self, form: str, count: int) -> list[Any]:
        start = self._place
        self._skip(count * struct.calcsize(form))
        return list(struct.unpack_from(f"<{count}{form}", self._data, start))

    def _skip(self, num_bytes: int) -> None:
        if num_bytes > len(self._data) - self._place:
            raise ValueError(_ENDS_EARLY)
        self._place += num_bytes
