"""The weights of a target shared out among several devices, a part of every layer on each.

A device has some heads of attention and some of the feed-forward's inner numbers (tensor parallelism,
Megatron-LM, Shoeybi et al. 2019): rows of what makes them, columns of `o` and `down` that read them.
What `o` and `down` give is then a part of a sum. The output layer is shared out by tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.families.architecture import Architecture

# Numbers of a row that devices exchange at once.
_EXCHANGED = 4


@dataclass(frozen=True, slots=True)
class ParallelStack(LayerStack):
    """The first device's part of the layers, with embedding and head whole, which drafters read."""

    parts: tuple[LayerStack, ...]
    """Every device's, with its own tokens of the head. Only the first has the embedding."""


def parallel_reason(shape: Architecture, stack: LayerStack, count: int) -> str | None:
    """Why a model cannot be shared out among so many devices; None where it can."""
    if shape.experts is not None:
        return "experts are not shared out"
    if not isinstance(stack.layers, tuple) or not all(
        isinstance(linear, DenseLinear) for linear in stack.linears()
    ):
        return "packed weights are not shared out"
    if shape.num_heads % count or shape.num_kv_heads % count:
        return (
            f"it has {shape.num_heads} heads and {shape.num_kv_heads} key/value heads, which {count} "
            "GPUs cannot share"
        )
    if stack.final_norm.shape[-1] % _EXCHANGED:
        return f"its rows have {stack.final_norm.shape[-1]} numbers, no multiple of {_EXCHANGED}"
    for layer in stack.layers:
        if layer.down is not None and layer.down.in_features % count:
            return f"its feed-forward has {layer.down.in_features} inner numbers"
        norms = (layer.q_norm, layer.k_norm)
        if any(norm is not None and norm.shape[-1] != shape.head_dim for norm in norms):
            return "its queries and keys are normed over all heads"
    return None


def parallel_shape(shape: Architecture, count: int) -> Architecture:
    """What each of so many devices computes."""
    return replace(
        shape, num_heads=shape.num_heads // count, num_kv_heads=shape.num_kv_heads // count
    )


def parallel_stack(
    shape: Architecture, stack: LayerStack, devices: Sequence[torch.device]
) -> ParallelStack:
    """Shares out a stack that `parallel_reason` lets pass; it may be somewhere else."""
    first = devices[0]
    embedding = _placed(stack.embedding, first)
    head = embedding if stack.is_tied else _placed(stack.head, first)
    starts = torch.linspace(0, head.out_features, len(devices) + 1).long().tolist()
    parts = []
    for index, device in enumerate(devices):
        tokens = slice(starts[index], starts[index + 1])
        parts.append(
            LayerStack(
                layers=tuple(
                    _layer(shape, layer, index, len(devices), device) for layer in stack.layers
                ),
                embedding=embedding,
                final_norm=stack.final_norm.to(device),
                # A view on the first device.
                head=DenseLinear(head.weight[tokens].to(device), _rows(head.bias, tokens, device)),
            )
        )
    own = parts[0]
    return ParallelStack(own.layers, embedding, own.final_norm, head, tuple(parts))


def _placed(linear: object, device: torch.device) -> DenseLinear:
    assert isinstance(linear, DenseLinear), "others are refused"
    bias = None if linear.bias is None else linear.bias.to(device)
    return DenseLinear(linear.weight.to(device), bias)


def _layer(
    shape: Architecture, layer: LayerWeights, index: int, count: int, device: torch.device
) -> LayerWeights:
    heads = [shape.num_heads, shape.num_kv_heads, shape.num_kv_heads]
    qkv = _with_outputs(layer.qkv, [size * shape.head_dim for size in heads], index, count, device)
    linears: dict[str, Linear] = {"qkv": qkv, "o": _with_inputs(layer.o, index, count, device)}
    if layer.gate_up is not None and layer.down is not None:
        sizes = [layer.down.in_features] * (2 if shape.is_gated else 1)
        linears["gate_up"] = _with_outputs(layer.gate_up, sizes, index, count, device)
        linears["down"] = _with_inputs(layer.down, index, count, device)
    vectors: dict[str, Any] = {name: vector.to(device) for name, vector in layer.vectors().items()}
    if layer.sinks is not None:
        vectors["sinks"] = layer.sinks.chunk(count)[index].to(device)
    return replace(layer.with_linears(linears), **vectors)


def _with_outputs(
    linear: Linear, sizes: Sequence[int], index: int, count: int, device: torch.device
) -> DenseLinear:
    """A share of the outputs of each size, one below the other."""
    assert isinstance(linear, DenseLinear), "others are refused"
    weights = [
        part.chunk(count)[index].to(device) for part in torch.split(linear.weight, list(sizes))
    ]
    bias = None
    if linear.bias is not None:
        biases = [
            part.chunk(count)[index].to(device) for part in torch.split(linear.bias, list(sizes))
        ]
        bias = torch.cat(biases)
    return DenseLinear(torch.cat(weights), bias)


def _with_inputs(linear: Linear, index: int, count: int, device: torch.device) -> DenseLinear:
    """A share of the inputs; the bias is added once."""
    assert isinstance(linear, DenseLinear), "others are refused"
    bias = linear.bias if index == 0 else None
    return DenseLinear(
        linear.weight.chunk(count, dim=1)[index].to(device).contiguous(),
        None if bias is None else bias.to(device),
    )


def _rows(vector: torch.Tensor | None, rows: slice, device: torch.device) -> torch.Tensor | None:
    return None if vector is None else vector[rows].to(device)
