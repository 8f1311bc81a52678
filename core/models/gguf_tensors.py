"""Tensors of GGUF files, and the numbers that they mean."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

_PLAIN = ("F64", "F32", "F16")
FLOATS = (*_PLAIN, "BF16")
"""Types of floating numbers; all others are blocks."""
_BFLOAT16_BYTES = 2
# So many numbers at once stay in a core's own memory while their blocks are taken apart.
_NUMBERS_AT_ONCE = 1 << 17
_NUMBERS_OF_ONE_THREAD = 1 << 14


class GgufTensor(NamedTuple):
    """A tensor in the file's memory map."""

    type_name: str
    """Q4_1, F32, ..."""
    shape: tuple[int, ...]
    """Of the numbers that it means, rows first."""
    data: np.ndarray[Any, Any]
    """Rows of numbers, or of the bytes of their blocks."""

    @property
    def num_bytes(self) -> int:
        """Of the numbers that `numbers_of` gives."""
        plain = self.data.itemsize if self.type_name in _PLAIN else _BFLOAT16_BYTES
        return int(np.prod(self.shape, dtype=np.int64)) * plain


class GgufNumbers(Mapping[str, "torch.Tensor"]):
    """Tensors by name, whose numbers are made as they are asked for."""

    def __init__(self, tensors: Mapping[str, GgufTensor], shapes: Mapping[str, tuple[int, ...]]):
        """`shapes` are what the tensors are laid out as, with as many numbers."""
        self._tensors = tensors
        self._shapes = shapes

    @property
    def num_bytes(self) -> int:
        return sum(self._tensors[name].num_bytes for name in self._shapes)

    @property
    def num_numbers(self) -> int:
        return sum(int(np.prod(sizes, dtype=np.int64)) for sizes in self._shapes.values())

    def __getitem__(self, name: str) -> "torch.Tensor":
        return numbers_of(self._tensors[name]).view(self._shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def numbers_of(tensor: GgufTensor) -> "torch.Tensor":
    """What the tensor means: plain numbers as they are, blocks in bfloat16."""
    import torch  # a file's header is read before it is there

    if tensor.type_name in _PLAIN:
        return torch.tensor(tensor.data)
    if tensor.type_name == "BF16":
        halves = torch.tensor(np.ascontiguousarray(tensor.data).view(np.int16))
        return halves.view(torch.bfloat16).view(tensor.shape)
    return _from_blocks(tensor).view(tensor.shape)


def can_read(type_name: str) -> bool:
    """Whether `numbers_of` knows the type."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    if type_name in _PLAIN:
        return True
    kind = GGMLQuantizationType[type_name]
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _from_blocks(tensor: GgufTensor) -> "torch.Tensor":
    """Some blocks at a time, whatever row they are of  # [numbers] bfloat16."""
    import torch
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    kind = GGMLQuantizationType[tensor.type_name]
    block, block_bytes = GGML_QUANT_SIZES[kind]
    # Maps of files are slower to take parts of than other arrays.
    data = np.asarray(tensor.data).reshape(-1, block_bytes)
    numbers = torch.empty(len(data), block, dtype=torch.bfloat16)
    step = _NUMBERS_AT_ONCE // block
    for start in range(0, len(data), step):
        exact = dequantize(data[start : start + step].reshape(1, -1), kind)
        _round_into(numbers[start : start + step].view(-1), torch.from_numpy(exact[0]))
    return numbers.view(-1)


def _round_into(numbers: "torch.Tensor", exact: "torch.Tensor") -> None:
    """In pieces that torch leaves to one thread: waiting for others would take longer."""
    for start in range(0, len(exact), _NUMBERS_OF_ONE_THREAD):
        piece = slice(start, start + _NUMBERS_OF_ONE_THREAD)
        numbers[piece] = exact[piece]
