"""A GGUF file's tensors as the layers of a model: its own numbers, or dequantized."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from core.backends.cpu.linear import (
    Blocks,
    CpuLinear,
    Format,
    block_segment,
    can_read_blocks,
    dense_segment,
)
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerStack
from core.errors import InvalidSettingError
from core.families.description import Description
from core.families.tensors import StackedPart, expected_shapes
from core.loading.weight_loading import Placement, Reader
from core.models.gguf_model import GgufModel
from core.models.gguf_tensors import FLOATS, GgufNumbers, GgufTensor, numbers_of
from core.runtime.storage import Progress

# Runs of rows that a layer may be put together of, each as it stands in the file.
_MOST_RUNS = 16
# What is of the size already that is asked for.
_OWN_TYPES = {"q4": ("Q4_0", "Q4_1"), "q8": ("Q8_0",)}


class GgufStack(NamedTuple):
    """All layers of a file."""

    stack: LayerStack
    num_parameters: int


def gguf_stack(
    gguf: Path, model: GgufModel, weights: str, place: Placement, progress: Progress
) -> GgufStack:
    """`weights` full dequantizes; all others keep whole numbers as the file has them, where there are
    kernels that read them.

    Raises InvalidSettingError where `weights` is q4 or q8, and the file's numbers are of other sizes.
    """
    layout = model.layout
    assert layout is not None, "the family is known"
    _check_types(gguf.name, model.file.tensors, weights)
    numbers = GgufNumbers(model.file.tensors, expected_shapes(layout))
    if weights != "full" and place.kernels is not None:
        reader: Reader = _BlockReader(numbers, place, _laid_out(model.file.tensors, layout))
    else:
        reader = Reader(numbers, place, is_mapped=False)

    def forgetting(stage: str, done: int, total: int) -> None:
        model.file.forget_pages()  # of the layers before, which have memory of their own
        progress(stage, done, total)

    stack = reader.stack(layout, numbers.num_bytes, forgetting, has_head=not layout.is_tied)
    model.file.forget_pages()
    return GgufStack(stack, numbers.num_numbers)


def has_floats(tensors: Mapping[str, GgufTensor]) -> bool:
    """Whether all layers are floating numbers."""
    return _layer_types(tensors) <= set(FLOATS)


def _layer_types(tensors: Mapping[str, GgufTensor]) -> set[str]:
    return {
        tensor.type_name
        for place, tensor in tensors.items()
        if place.startswith("blk.") and tensor.data.ndim > 1
    }


def _check_types(name: str, tensors: Mapping[str, GgufTensor], weights: str) -> None:
    found = _layer_types(tensors)
    wanted = _OWN_TYPES.get(weights)
    if wanted is None or has_floats(tensors) or found & set(wanted):
        return
    raise InvalidSettingError(
        f"{name} holds {' and '.join(sorted(found))} and weights {weights} is {' or '.join(wanted)}; "
        "give weights file, which takes them as they are."
    )


def _laid_out(tensors: Mapping[str, GgufTensor], layout: Description) -> dict[str, GgufTensor]:
    """In the shapes that the description gives: files may leave out ones in front."""
    return {
        name: tensors[name]._replace(
            shape=shape, data=np.asarray(tensors[name].data).reshape(*shape[:-1], -1)
        )
        for name, shape in expected_shapes(layout).items()
    }


class _BlockReader(Reader):
    """Keeps whole numbers as the file has them."""

    def __init__(
        self,
        numbers: Mapping[str, torch.Tensor],
        place: Placement,
        tensors: Mapping[str, GgufTensor],
    ):
        super().__init__(numbers, place, is_mapped=False)
        self._stored = tensors

    def _layer(
        self, names: Sequence[str], order: Sequence[int] | None, bias: torch.Tensor | None
    ) -> DenseLinear | CpuLinear:
        found = self._of_blocks([self._stored[name] for name in names], order, bias)
        return super()._layer(names, order, bias) if found is None else found

    def _stacked(self, part: StackedPart) -> Iterator[DenseLinear | CpuLinear]:
        stored = [self._stored[name] for name in part.names]
        if part.is_turned or part.is_packed:
            yield from super()._stacked(part)
            return
        biases = [self._take(name) for name in part.bias_names]
        order = slice(None) if part.order is None else list(part.order)
        for expert in range(stored[0].shape[0]):
            own = [
                GgufTensor(tensor.type_name, tensor.shape[1:], tensor.data[expert])
                for tensor in stored
            ]
            bias = torch.cat([bias[expert] for bias in biases])[order] if biases else None
            found = self._of_blocks(own, part.order, bias)
            if found is not None:
                yield found
            else:
                weight = torch.cat([numbers_of(tensor) for tensor in own])[order]
                yield self._made([weight], bias)

    def _of_blocks(
        self,
        stored: Sequence[GgufTensor],  # [num_outputs, in_features] each
        order: Sequence[int] | None,
        bias: torch.Tensor | None,
    ) -> CpuLinear | None:
        """A layer of the rows of all tensors; None where it is to be dequantized."""
        kernels = self._place.kernels
        assert kernels is not None
        width = stored[0].shape[1]
        if not any(can_read_blocks(tensor.type_name, width) for tensor in stored):
            return None
        whole = [_Run(tensor, slice(None)) for tensor in stored]
        runs = whole if order is None else _runs(stored, order)
        if len(runs) > _MOST_RUNS:
            return None
        segments = []
        for tensor, rows in runs:
            if can_read_blocks(tensor.type_name, width):
                blocks = Blocks(Format[tensor.type_name], tensor.data[rows], width)
                segments.append(block_segment(kernels, blocks))
            else:
                segments.append(dense_segment(kernels, numbers_of(tensor)[rows]))
        bias = None if bias is None else bias.to(self._place.dtype)
        return CpuLinear(kernels, width, segments, bias)


class _Run(NamedTuple):
    """Rows of one tensor."""

    tensor: GgufTensor
    rows: list[int] | slice


def _runs(stored: Sequence[GgufTensor], order: Sequence[int]) -> list[_Run]:
    """Rows in an order over all tensors, as rows of one tensor after the other."""
    places = [(index, row) for index, tensor in enumerate(stored) for row in range(tensor.shape[0])]
    found: list[_Run] = []
    for index, group in groupby((places[place] for place in order), key=itemgetter(0)):
        found.append(_Run(stored[index], [row for _, row in group]))
    return found
