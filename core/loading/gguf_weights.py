"""A GGUF file's tensors as the layers of a model, dequantized or in the file's own whole numbers.

Blocks of 32 weights (llama.cpp, ggml-common.h): Q4_0 is (value - 8) * scale, Q4_1 is
value * scale + offset, Q8_0 is value * scale with signed values; scales are half precision.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from core.backends.torch.linear import DenseLinear, Embedding, Linear, WeightGrid
from core.backends.torch.weights import LayerStack
from core.errors import InvalidSettingError
from core.families.description import Description
from core.families.tensors import Part, embedding, expected_shapes
from core.loading.weight_loading import Placement, Reader
from core.models.gguf_model import GgufModel
from core.models.gguf_tensors import GgufNumbers, GgufTensor
from core.quant.linears import linear_of
from core.runtime.storage import Progress

_BLOCK = 32
# Types whose layers a choice of weights can take as they are.
_TYPES = {"q4": ("Q4_0", "Q4_1"), "q8": ("Q8_0",)}
_GRIDS = {"Q4_0", "Q4_1", "Q8_0"}


class GgufStack(NamedTuple):
    """All layers of a file."""

    stack: LayerStack
    num_parameters: int


def gguf_stack(
    gguf: Path, model: GgufModel, weights: str, place: Placement, progress: Progress
) -> GgufStack:
    """`weights` full dequantizes; q4 and q8 take layers of their types as they are, and dequantize
    what has another.

    Raises InvalidSettingError where no layer is of the types that `weights` takes.
    """
    layout = model.layout
    assert layout is not None, "the family is known"
    numbers = GgufNumbers(model.file.tensors, expected_shapes(layout))
    reader = Reader(numbers, place, is_mapped=False)
    if weights != "full":
        _check_types(gguf.name, model.file.tensors, weights)
        reader = _GridReader(numbers, place, model.file.tensors)
    stack = reader.stack(layout, numbers.num_bytes, progress, has_head=not layout.is_tied)
    return GgufStack(stack, numbers.num_numbers)


def decode_blocks(
    data: np.ndarray[Any, Any],  # [out_features, bytes of a row] uint8
    type_name: str,
) -> WeightGrid:
    """The blocks of Q4_0, Q4_1 or Q8_0 as a grid."""
    out_features = data.shape[0]
    num_halves = 2 if type_name == "Q4_1" else 1
    value_bytes = _BLOCK if type_name == "Q8_0" else _BLOCK // 2
    blocks = data.reshape(out_features, -1, 2 * num_halves + value_bytes)
    halves = np.ascontiguousarray(blocks[:, :, : 2 * num_halves]).view(np.float16)
    scales = torch.from_numpy(halves[:, :, 0].astype(np.float32))
    raw = torch.from_numpy(np.ascontiguousarray(blocks[:, :, 2 * num_halves :]))
    if type_name == "Q8_0":
        # Signed values, counted from -128.
        return WeightGrid((raw ^ 0x80).view(out_features, -1), scales, -128.0 * scales, 8)
    parts = torch.empty(*raw.shape[:2], 2, _BLOCK // 2, dtype=torch.uint8)
    torch.bitwise_and(raw, 15, out=parts[:, :, 0])
    torch.bitwise_right_shift(raw, 4, out=parts[:, :, 1])
    values = parts.view(out_features, -1)
    if type_name == "Q4_0":
        return WeightGrid(values, scales, -8.0 * scales, 4)
    return WeightGrid(values, scales, torch.from_numpy(halves[:, :, 1].astype(np.float32)), 4)


def _check_types(name: str, tensors: Mapping[str, GgufTensor], weights: str) -> None:
    found = {
        tensor.type_name
        for place, tensor in tensors.items()
        if place.startswith("blk.") and tensor.data.ndim > 1
    }
    wanted = _TYPES[weights]
    if not found & set(wanted):
        raise InvalidSettingError(
            f"{name} holds {' and '.join(sorted(found))} and weights {weights} takes "
            f"{' or '.join(wanted)} as they are; leave weights out, and they are dequantized."
        )


class _GridReader(Reader):
    """Takes blocks as they are where a grid can hold them."""

    def __init__(
        self,
        numbers: Mapping[str, torch.Tensor],
        place: Placement,
        tensors: Mapping[str, GgufTensor],
    ):
        super().__init__(numbers, place, is_mapped=False)
        self._stored = tensors

    def linear(self, part: Part) -> Any:
        """One layer of the rows of all that it is made of."""
        stored = [self._stored[f"{name}.weight"] for name in part.names]
        if not {tensor.type_name for tensor in stored} <= _GRIDS:
            return super().linear(part)
        bias = None
        if part.has_bias:
            bias = self._in_place(self._rows([f"{name}.bias" for name in part.names], part.order))
        return self._grid_linear(stored, part.order, bias)

    def table(self, linear: Any, described: Description) -> Embedding:
        """The same object, or a dense one: torch's packed layout cannot be looked up."""
        if hasattr(linear, "rows"):
            return super().table(linear, described)
        name = f"{embedding(described).names[0]}.weight"
        return DenseLinear(self._in_place(self._take(name)))

    def _grid_linear(
        self, stored: list[GgufTensor], order: tuple[int, ...] | None, bias: torch.Tensor | None
    ) -> Linear:
        grids = [decode_blocks(tensor.data, tensor.type_name) for tensor in stored]
        rows = slice(None) if order is None else list(order)
        joined = WeightGrid(
            torch.cat([grid.values for grid in grids])[rows],
            torch.cat([grid.scales for grid in grids])[rows],
            torch.cat([grid.offsets for grid in grids])[rows],
            max(grid.bits for grid in grids),
        )
        return linear_of(joined, bias, self._place.dtype, self._place.kernels)
