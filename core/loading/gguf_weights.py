"""A GGUF file's own whole numbers as the layers of a model, without quantizing anew.

Blocks of 32 weights (llama.cpp, ggml-common.h): Q4_0 is (value - 8) * scale, Q4_1 is
value * scale + offset, Q8_0 is value * scale with signed values; scales are half precision.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.backends.cpu.library import Kernels
from core.backends.torch.linear import DenseLinear, Embedding, Linear, WeightGrid
from core.backends.torch.weights import LayerStack, LayerWeights
from core.errors import InvalidSettingError
from core.families.architecture import Architecture
from core.models.gguf_config import FAMILIES
from core.models.gguf_index import open_gguf
from core.models.gguf_tensors import dequantized, numbers_of, unpermuted
from core.quant.linears import linear_of
from core.runtime.storage import Progress

_BLOCK = 32
# Types whose layers a choice of weights can take as they are.
_TYPES = {"q4": ("Q4_0", "Q4_1"), "q8": ("Q8_0",)}


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


def gguf_stack(
    gguf: Path,
    weights: str,
    shape: Architecture,
    dtype: torch.dtype,
    kernels: Kernels | None,
    progress: Progress,
) -> LayerStack:
    """All layers of a GGUF file in the file's own numbers; what has another type is dequantized.

    Raises InvalidSettingError where the layers are not of the types that `weights` (q4 or q8) takes.
    """
    reader = _Reader(gguf, shape, dtype, kernels)
    reader.check_types(weights)
    layers = []
    for index in range(shape.num_layers):
        # Layers are of one size, and the embedding is read last.
        progress("reading weights", reader.num_bytes * index // shape.num_layers, reader.num_bytes)
        layers.append(reader.layer(index))
    head, embedding = reader.head_and_embedding()
    return LayerStack(tuple(layers), embedding, reader.vector("output_norm"), head)


class _Reader:
    """Named parts of one file."""

    def __init__(
        self, gguf: Path, shape: Architecture, dtype: torch.dtype, kernels: Kernels | None
    ):
        file = open_gguf(gguf)
        self._name = gguf.name
        self._tensors = file.tensors
        self._is_permuted = FAMILIES[file.architecture].is_permuted
        self._shape = shape
        self._dtype = dtype
        self._kernels = kernels

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.data.nbytes for tensor in self._tensors.values())

    def check_types(self, weights: str) -> None:
        """See `gguf_stack`."""
        found = {
            tensor.type_name
            for name, tensor in self._tensors.items()
            if name.startswith("blk.") and tensor.data.ndim > 1
        }
        wanted = _TYPES[weights]
        if not found & set(wanted):
            raise InvalidSettingError(
                f"{self._name} holds {' and '.join(sorted(found))} and weights {weights} takes "
                f"{' or '.join(wanted)} as they are; leave weights out, and they are dequantized."
            )

    def layer(self, index: int) -> LayerWeights:
        prefix = f"blk.{index}."
        shape = self._shape
        return LayerWeights(
            cache_index=index,
            input_norm=self.vector(prefix + "attn_norm"),
            qkv=self._linear(
                [prefix + "attn_q", prefix + "attn_k", prefix + "attn_v"],
                heads=[shape.num_heads, shape.num_kv_heads, 0],
            ),
            q_norm=self._vector_or_none(prefix + "attn_q_norm.weight"),
            k_norm=self._vector_or_none(prefix + "attn_k_norm.weight"),
            o=self._linear([prefix + "attn_output"]),
            ffn_norm=self.vector(prefix + "ffn_norm"),
            gate_up=self._linear([prefix + "ffn_gate", prefix + "ffn_up"]),
            down=self._linear([prefix + "ffn_down"]),
        )

    def head_and_embedding(self) -> tuple[Linear, Embedding]:
        """One object where the file has no head of its own."""
        table = self._linear(["token_embd"])
        embedding: Any = table
        if not hasattr(table, "rows"):  # torch's packed layout cannot be looked up
            embedding = DenseLinear(self._dense("token_embd"))
        head = self._linear(["output"]) if "output.weight" in self._tensors else table
        return head, embedding

    def vector(self, name: str) -> torch.Tensor:
        """A norm's weight  # [width]."""
        found = self._vector_or_none(name + ".weight")
        assert found is not None, f"{name} is in every file"
        return found

    def _vector_or_none(self, name: str) -> torch.Tensor | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else numbers_of(tensor).to(self._dtype)

    def _linear(self, names: Sequence[str], heads: Sequence[int] = (0,)) -> Linear:
        """One layer of the rows of all tensors; `heads` tells whose rows are to be reordered."""
        heads = heads if len(heads) == len(names) else [0] * len(names)
        bias = self._bias(names, heads)
        types = {self._tensors[f"{name}.weight"].type_name for name in names}
        if not types <= {"Q4_0", "Q4_1", "Q8_0"}:
            parts = [
                self._in_order(self._dense(name), count)
                for name, count in zip(names, heads, strict=True)
            ]
            return DenseLinear(torch.cat(parts), bias)
        grids = [self._grid(name, count) for name, count in zip(names, heads, strict=True)]
        joined = grids[0]
        if len(grids) > 1:
            joined = WeightGrid(
                torch.cat([grid.values for grid in grids]),
                torch.cat([grid.scales for grid in grids]),
                torch.cat([grid.offsets for grid in grids]),
                max(grid.bits for grid in grids),
            )
        return linear_of(joined, bias, self._dtype, self._kernels)

    def _grid(self, name: str, num_heads: int) -> WeightGrid:
        tensor = self._tensors[f"{name}.weight"]
        grid = decode_blocks(tensor.data, tensor.type_name)
        return grid._replace(
            values=self._in_order(grid.values, num_heads),
            scales=self._in_order(grid.scales, num_heads),
            offsets=self._in_order(grid.offsets, num_heads),
        )

    def _dense(self, name: str) -> torch.Tensor:
        return dequantized(self._tensors[f"{name}.weight"]).to(self._dtype)

    def _bias(self, names: Sequence[str], heads: Sequence[int]) -> torch.Tensor | None:
        parts = [self._vector_or_none(f"{name}.bias") for name in names]
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            return None
        return torch.cat(
            [self._in_order(part, count) for part, count in zip(present, heads, strict=True)]
        )

    def _in_order(
        self,
        rows: torch.Tensor,  # [out_features, ...]
        num_heads: int,
    ) -> torch.Tensor:
        """Rows of heads as transformers has them."""
        return unpermuted(rows, num_heads) if num_heads and self._is_permuted else rows
