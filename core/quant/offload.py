"""Original weights on disk, read layer by layer when the target verifies.

With accelerate's offloaded weights (one memory-mapped file a weight). Only the quantized copy, the
norms and the embedding stay in memory; every verification and every token of a prompt's forward
reads all original weights again, from the system's file cache where memory allows it and from the
disk where it does not.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from core.backends.cpu.linear import CpuLinear, cpu_dense
from core.backends.torch.forward import TorchForward
from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.weights import LayerStack
from core.quant.stack import dense_of, linear_names
from core.runtime.scratch import writable_folder
from core.runtime.storage import told_if_full

# Of weight [out_features, in_features] and bias.
MakeLinear = Callable[[torch.Tensor, torch.Tensor | None], Linear]


class OffloadedLinear:
    """Implements `core.backends.torch.linear.Linear`; its weight is in memory only while it
    multiplies."""

    kernel = "dense, from disk"
    num_bytes = 0

    def __init__(
        self, path: Path, info: dict[str, Any], bias: torch.Tensor | None, make: MakeLinear
    ):
        """`make` turns weight and bias into the layer that this one stands for."""
        self.out_features, self.in_features = map(int, info["shape"])
        self._path = path
        self._info = info
        self.bias = bias
        self.make = make

    def read(self) -> torch.Tensor:
        """The weight  # [out_features, in_features]."""
        from accelerate.utils import load_offloaded_weight

        return load_offloaded_weight(str(self._path), self._info)  # type: ignore[no-any-return]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.read().to(x.device), self.bias)


class OriginalWeights:
    """The linear layers of a target, which can be moved to disk and back between runs."""

    def __init__(self, forward: TorchForward, folder: Path):
        """The files go into a folder of their own under `folder` and vanish with this object."""
        self._forward = forward
        self._parent = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None

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

        Raises ModelUnavailableError where the disk is full, and StorageError where none can be
        written.
        """
        if self.is_offloaded:
            return
        stack = self._forward.stack
        self._forward.use(_replaced(stack, self._write(stack)))

    def to_memory(self) -> None:
        """Reads the weights back, where they were moved away."""
        if self._folder is None:
            return
        stack = self._forward.stack
        restored: dict[str, Linear] = {}
        for name, linear in zip(linear_names(stack), stack.linears(), strict=True):
            if not isinstance(linear, OffloadedLinear):
                continue
            weight = linear.read().to(stack.final_norm.device)
            restored[name] = linear.make(weight, linear.bias)
        self._forward.use(_replaced(stack, restored))
        self._folder.cleanup()
        self._folder = None

    def _write(self, stack: LayerStack) -> dict[str, Linear]:
        offloaded: dict[str, Linear] = {}
        parent = writable_folder(self._parent)
        with told_if_full(parent):
            parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(prefix="weights-", dir=parent)
            for name, linear in zip(linear_names(stack), stack.linears(), strict=True):
                is_embedding = stack.is_tied and linear is stack.head
                dense = None if is_embedding else dense_of(linear)
                if dense is not None:
                    offloaded[name] = _write_weight(linear, dense, name, Path(folder.name))
        self._folder = folder
        return offloaded


def _write_weight(linear: Linear, dense: DenseLinear, name: str, folder: Path) -> OffloadedLinear:
    from accelerate.utils import offload_weight

    index: dict[str, dict[str, Any]] = {}
    offload_weight(dense.weight.cpu(), name, str(folder), index)
    make: MakeLinear = DenseLinear
    if isinstance(linear, CpuLinear):
        make = partial(cpu_dense, linear.kernels)
    return OffloadedLinear(folder / f"{name}.dat", index[name], dense.bias, make)


def _replaced(stack: LayerStack, linears: dict[str, Linear]) -> LayerStack:
    """The stack with some linear layers replaced, by name."""
    layers = tuple(
        layer.with_linears(
            {
                part: linears.get(f"layers.{layer.cache_index}.{part}", linear)
                for part, linear in layer.linears().items()
            }
        )
        for layer in stack.layers
    )
    return replace(stack, layers=layers, head=linears.get("head", stack.head))
