"""Original weights on disk, read layer by layer when the target verifies.

With accelerate's offloaded weights (one memory-mapped file a weight). Only the quantized copy, the
norms and the embedding stay in memory; every verification and every token of a prompt's forward
reads all original weights again, from the system's file cache where memory allows it and from the
disk where it does not.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from accelerate.utils import load_offloaded_weight, offload_weight

from core.lean.forward import LeanForward
from core.lean.linear import DenseLinear, Linear
from core.lean.weights import LayerStack
from core.models.storage import told_if_full
from core.quant.stack import PARTS, linear_names


class OffloadedLinear:
    """Implements `core.lean.linear.Linear`; its weight is in memory only while it multiplies."""

    kernel = "dense, from disk"
    num_bytes = 0

    def __init__(self, path: Path, info: dict[str, Any], bias: torch.Tensor | None):
        self._path = path
        self._info = info
        self.bias = bias

    def read(self) -> torch.Tensor:
        """The weight  # [out_features, in_features]."""
        return load_offloaded_weight(str(self._path), self._info)  # type: ignore[no-any-return]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.read().to(x.device), self.bias)


class _View(NamedTuple):
    """A parameter of the transformers module that shows a part of a fused weight."""

    parameter: torch.nn.Parameter
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


class OriginalWeights:
    """The linear layers of a target, which can be moved to disk and back between runs."""

    def __init__(self, module: Any, forward: LeanForward, folder: Path):
        """`module` is the transformers model whose parameters share the forward's weights; the
        files go into a folder of their own under `folder` and vanish with this object."""
        self._module = module
        self._forward = forward
        self._parent = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._views: dict[str, list[_View]] = {}

    @property
    def is_offloaded(self) -> bool:
        return self._folder is not None

    @property
    def num_bytes(self) -> int:
        """Memory that the target's weights take now: linear layers, norms and embedding."""
        stack = self._forward.stack
        return stack.num_bytes + stack.num_embedding_bytes

    def to_disk(self) -> None:
        """Frees all linear weights but a head that is the embedding too.

        Raises ModelUnavailableError where the disk is full.
        """
        if self.is_offloaded:
            return
        stack = self._forward.stack
        linears = {
            name: linear
            for name, linear in zip(linear_names(stack), stack.linears(), strict=True)
            if isinstance(linear, DenseLinear) and linear is not stack.embedding
        }
        offloaded = self._write(linears)
        self._views = self._release(linears)
        self._forward.stack = _replaced(stack, offloaded)

    def to_memory(self) -> None:
        """Reads the weights back, where they were moved away."""
        if self._folder is None:
            return
        stack = self._forward.stack
        restored: dict[str, Linear] = {}
        for name, linear in zip(linear_names(stack), stack.linears(), strict=True):
            if not isinstance(linear, OffloadedLinear):
                continue
            weight = linear.read().to(self._module.device)
            for view in self._views.pop(name, []):
                view.parameter.data = weight.as_strided(view.shape, view.stride, view.offset)
            restored[name] = DenseLinear(weight, linear.bias)
        self._forward.stack = _replaced(stack, restored)
        self._folder.cleanup()
        self._folder = None

    def _write(self, linears: dict[str, DenseLinear]) -> dict[str, Linear]:
        with told_if_full(self._parent):
            self._parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(prefix="weights-", dir=self._parent)
            index: dict[str, dict[str, Any]] = {}
            for name, linear in linears.items():
                offload_weight(linear.weight.cpu(), name, folder.name, index)
        self._folder = folder
        return {
            name: OffloadedLinear(Path(folder.name) / f"{name}.dat", index[name], linear.bias)
            for name, linear in linears.items()
        }

    def _release(self, linears: dict[str, DenseLinear]) -> dict[str, list[_View]]:
        """Empties the module's parameters that hold on to the weights; returns what they were."""
        name_of = {
            linear.weight.untyped_storage().data_ptr(): name for name, linear in linears.items()
        }
        views: dict[str, list[_View]] = {}
        for parameter in self._module.parameters():
            name = name_of.get(parameter.untyped_storage().data_ptr())
            if name is not None:
                view = _View(
                    parameter, parameter.shape, parameter.stride(), parameter.storage_offset()
                )
                views.setdefault(name, []).append(view)
                parameter.data = parameter.data.new_empty(0)
        return views


def _replaced(stack: LayerStack, linears: dict[str, Linear]) -> LayerStack:
    """The stack with some linear layers replaced, by name."""
    layers = tuple(
        replace(
            layer,
            **{
                part: linears.get(f"layers.{layer.cache_index}.{part}", getattr(layer, part))
                for part in PARTS
            },
        )
        for layer in stack.layers
    )
    return replace(stack, layers=layers, head=linears.get("head", stack.head))
