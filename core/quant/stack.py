"""The quantized self of a model: its layers over hqq grids, sharing norms and embedding."""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import CpuLinear
from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.errors import InvalidSettingError
from core.quant.grid import Grid, quantize
from core.quant.linears import linear_of

# Gives the grid of a named weight in so many bits: from a store, or quantized now.
GridOf = Callable[[str, torch.Tensor, int], Grid]
Progress = Callable[[str, int, int], None]


def linear_names(stack: LayerStack) -> list[str]:
    """Names of all linear layers: layers.0.qkv ... head."""
    names = [
        f"layers.{layer.cache_index}.{part}" for layer in stack.layers for part in layer.linears()
    ]
    return [*names, "head"]


def kept_names(stack: LayerStack, patterns: Sequence[str]) -> set[str]:
    """Linear layers that stay as they are: a pattern is a layer number or a name with wildcards.

    Raises InvalidSettingError for a pattern that names nothing.
    """
    names = linear_names(stack)
    kept: set[str] = set()
    for pattern in patterns:
        wildcard = f"layers.{pattern}.*" if pattern.isdigit() else pattern
        found = fnmatch.filter(names, wildcard)
        if not found:
            raise InvalidSettingError(
                f"no layer is named {pattern!r}; give a layer number from 0 to "
                f"{len(stack.layers) - 1}, head, or a name such as {names[0]} (* matches anything)."
            )
        kept.update(found)
    return kept


def dense_of(linear: Linear) -> DenseLinear | None:
    """A dense layer as torch has it; None for one of whole numbers."""
    if isinstance(linear, CpuLinear) and linear.is_dense:
        return DenseLinear(linear.dequantize(), linear.bias)
    return linear if isinstance(linear, DenseLinear) else None


def is_packed(stack: LayerStack) -> bool:
    """Whether layers hold whole numbers."""
    return any(_dense_width(linear) is None for linear in stack.linears())


def _dense_width(linear: Linear) -> int | None:
    """Inputs of a dense layer, without writing it out."""
    if isinstance(linear, CpuLinear):
        return linear.in_features if linear.is_dense else None
    return linear.weight.shape[1] if isinstance(linear, DenseLinear) else None


def check_group_size(stack: LayerStack, kept: set[str], group_size: int) -> None:
    """Raises InvalidSettingError where the group size does not divide a weight's input width."""
    for name, linear in zip(linear_names(stack), stack.linears(), strict=True):
        width = _dense_width(linear)
        if name not in kept and width is not None and width % group_size:
            divisors = [size for size in (32, 64, 128) if width % size == 0]
            raise InvalidSettingError(
                f"group_size is {group_size} and does not divide the {width} inputs of "
                f"{name}; give {' or '.join(map(str, divisors)) or 'another model'}."
            )


def quantized_stack(
    stack: LayerStack,
    *,
    bits: int,
    group_size: int,
    head_bits: int | None = None,
    keep: Sequence[str] = (),
    grid_of: GridOf | None = None,
    progress: Progress | None = None,
    kernels: Kernels | None = None,
) -> LayerStack:
    """The stack with every linear quantized but those that `keep` names; see `linear_of`.

    The head has as many bits as the layers, unless `head_bits` says otherwise. Raises
    InvalidSettingError for unknown names and for a group size that does not divide.
    """
    kept = kept_names(stack, keep)
    check_group_size(stack, kept, group_size)
    total = len(linear_names(stack)) - len(kept)
    done = 0

    def convert(name: str, linear: Linear) -> Linear:
        nonlocal done
        dense = None if name in kept else dense_of(linear)
        if dense is None:
            return linear
        own_bits = head_bits if name == "head" and head_bits else bits
        if grid_of is not None:
            grid = grid_of(name, dense.weight, own_bits)
        else:
            grid = quantize(dense.weight, own_bits, group_size)
        done += 1
        if progress is not None:
            progress("quantizing", done, total)
        weight_grid = grid.to_weight_grid(own_bits)
        return linear_of(weight_grid, dense.bias, dense.weight.dtype, kernels)

    def convert_layer(layer: LayerWeights) -> LayerWeights:
        prefix = f"layers.{layer.cache_index}."
        return layer.with_linears(
            {part: convert(prefix + part, linear) for part, linear in layer.linears().items()}
        )

    return replace(
        stack,
        layers=tuple(convert_layer(layer) for layer in stack.layers),
        head=convert("head", stack.head),
    )
