"""Whether the layers of a stack fit each other: compiled kernels believe what they are told."""

from collections.abc import Iterator

import torch

from core.backends.torch.linear import Embedding, Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.errors import ModelUnavailableError
from core.families.architecture import Architecture


def check_sizes(
    shape: Architecture,
    stack: LayerStack,
    state_norm: torch.Tensor | None = None,  # [hidden]
) -> None:
    """Raises ModelUnavailableError that names the first weight of another size.

    With `state_norm` it is an EAGLE-3 head's, whose first layer reads two rows beside each other.
    """
    counts = (shape.num_layers, shape.num_heads, shape.num_kv_heads, shape.head_dim)
    if min(counts) < 1 or shape.num_heads % shape.num_kv_heads or shape.head_dim % 2:
        raise ModelUnavailableError(
            f"the model has {shape.num_layers} layers of {shape.num_heads} heads of {shape.head_dim} "
            f"numbers, which share {shape.num_kv_heads} keys; give one with layers, an even number "
            "in a head, and as many heads for every key."
        )
    hidden = stack.final_norm.shape[-1]
    for name, found, wanted in _sizes(shape, stack, hidden, state_norm):
        if found != wanted or min(found) < 1:
            raise ModelUnavailableError(
                f"the weight {name} has the sizes {found} and the model's others want {wanted}; give "
                "a whole model."
            )


def _sizes(
    shape: Architecture, stack: LayerStack, hidden: int, state_norm: torch.Tensor | None
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Name, sizes, and what they must be, of every weight."""
    if state_norm is not None:
        yield "state_norm", tuple(state_norm.shape), _norm(stack, hidden)
    yield "final_norm", tuple(stack.final_norm.shape), _norm(stack, hidden)
    first = stack.layers[0].down
    # Beside experts, layers have feed-forwards of several widths.
    inside = None if shape.experts is not None or first is None else first.in_features
    for index, layer in enumerate(stack.layers):
        width = hidden if index or state_norm is None else 2 * hidden
        for name, found, wanted in _layer_sizes(shape, stack, layer, hidden, width, inside):
            yield f"layers.{layer.cache_index}.{name}", found, wanted
    yield "embedding", _of(stack.embedding), (stack.embedding.out_features, hidden)
    yield "head", _of(stack.head), (shape.vocab_size, hidden)


def _layer_sizes(
    shape: Architecture,
    stack: LayerStack,
    layer: LayerWeights,
    hidden: int,
    width: int,
    inside: int | None,
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    for name, vector in layer.vectors().items():
        if name == "sinks":
            yield name, tuple(vector.shape), (shape.num_heads,)
            continue
        wanted = hidden
        if name in ("q_norm", "k_norm"):
            both = queries if name == "q_norm" else keys
            wanted = both if vector.shape[-1] == both else shape.head_dim
        yield name, tuple(vector.shape), _norm(stack, wanted)
    yield "qkv", _of(layer.qkv), (queries + 2 * keys, width)
    yield "o", _of(layer.o), (hidden, queries)
    linears = layer.linears()
    for name, linear in linears.items():
        prefix, _, part = name.rpartition("gate_up")
        if part == "" and prefix + "down" in linears:
            down = linears[prefix + "down"]
            inner = inside or down.in_features
            yield name, _of(linear), (2 * inner if shape.is_gated else inner, hidden)
            yield prefix + "down", _of(down), (hidden, inner)
    if layer.router is not None:
        yield "router", _of(layer.router), (len(layer.experts), hidden)


def _norm(stack: LayerStack, width: int) -> tuple[int, ...]:
    """A norm's sizes, which are either all RMS norms or all layer norms."""
    return (2, width) if stack.final_norm.dim() == 2 else (width,)


def _of(linear: Linear | Embedding) -> tuple[int, int]:
    return linear.out_features, linear.in_features
