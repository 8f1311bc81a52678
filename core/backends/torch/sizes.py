"""Whether the layers of a stack fit each other: compiled kernels believe what they are told."""

from collections.abc import Iterator

import torch

from core.backends.torch.linear import Embedding, Linear
from core.backends.torch.weights import LayerStack, LayerWeights, Shape
from core.errors import ModelUnavailableError


def check_sizes(
    shape: Shape,
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
    hidden = len(stack.final_norm)
    for name, found, wanted in _sizes(shape, stack, hidden, state_norm):
        if found != wanted or min(found) < 1:
            raise ModelUnavailableError(
                f"the weight {name} has the sizes {found} and the model's others want {wanted}; give "
                "a whole model."
            )


def _sizes(
    shape: Shape, stack: LayerStack, hidden: int, state_norm: torch.Tensor | None
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Name, sizes, and what they must be, of every weight."""
    inside = stack.layers[0].down.in_features
    if state_norm is not None:
        yield "state_norm", tuple(state_norm.shape), (hidden,)
    for index, layer in enumerate(stack.layers):
        width = hidden if index or state_norm is None else 2 * hidden
        for name, found, wanted in _layer_sizes(shape, layer, hidden, width, inside):
            yield f"layers.{layer.cache_index}.{name}", found, wanted
    yield "embedding", _of(stack.embedding), (stack.embedding.out_features, hidden)
    yield "head", _of(stack.head), (shape.vocab_size, hidden)


def _layer_sizes(
    shape: Shape, layer: LayerWeights, hidden: int, width: int, inside: int
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    yield "input_norm", tuple(layer.input_norm.shape), (hidden,)
    yield "qkv", _of(layer.qkv), (queries + 2 * keys, width)
    for name, norm in (("q_norm", layer.q_norm), ("k_norm", layer.k_norm)):
        if norm is not None:
            yield name, tuple(norm.shape), (shape.head_dim,)
    yield "o", _of(layer.o), (hidden, queries)
    yield "post_norm", tuple(layer.post_norm.shape), (hidden,)
    yield "gate_up", _of(layer.gate_up), (2 * inside, hidden)
    yield "down", _of(layer.down), (hidden, inside)


def _of(linear: Linear | Embedding) -> tuple[int, int]:
    return linear.out_features, linear.in_features
