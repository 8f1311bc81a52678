"""Which tensors of which sizes a described model has, and how their rows are to be laid.

One table serves whoever reads weights, whoever writes them and whoever checks them.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from core.families.description import Description

PACKED_GROUP = 32


class Vector(NamedTuple):
    """Numbers of one tensor of one dimension, or those of a layer norm."""

    name: str | None
    """None for factors that are 1 and in no file."""
    size: int
    offset: float = 0.0
    """To be added."""
    order: tuple[int, ...] | None = None
    """Which number comes first, second, ..."""
    is_layer_norm: bool = False
    bias_name: str | None = None
    """Of what a layer norm adds, where it adds something."""

    @property
    def names(self) -> list[str]:
        """Of its tensors, which are all of its size."""
        return [name for name in (self.name, self.bias_name) if name is not None]


class Part(NamedTuple):
    """A linear layer of our own forward: rows of one or several tensors, one below the other."""

    names: tuple[str, ...]
    """Without .weight and .bias."""
    sizes: tuple[int, ...]
    """Rows of each."""
    width: int
    """Columns of all."""
    has_bias: bool = False
    order: tuple[int, ...] | None = None
    """Which row of them all comes first, second, ..."""


class StackedPart(NamedTuple):
    """One linear layer for every expert, its rows those of one or several tensors of all experts."""

    names: tuple[str, ...]
    bias_names: tuple[str, ...]
    """None without biases."""
    sizes: tuple[int, ...]
    """Rows of each."""
    width: int
    is_turned: bool
    """[experts, width, size], and not [experts, size, width]."""
    order: tuple[int, ...] | None
    """Which row of an expert comes first, second, ..."""
    is_packed: bool
    """Then a tensor is two, NAME_blocks [experts, size, width / 32, 16] and NAME_scales without the
    last dimension."""


class LayerTensors(NamedTuple):
    """A layer's tensors by their names in `core.backends.torch.weights.LayerWeights`."""

    vectors: dict[str, Vector]
    linears: dict[str, Part]
    """Those of experts are named by `expert_part`."""
    stacked: dict[str, StackedPart]


def expert_part(expert: int, part: str) -> str:
    """The name of an expert's linear layer within its layer."""
    return f"experts.{expert}.{part}"


def layer_tensors(described: Description, index: int) -> LayerTensors:
    """What a layer consists of."""
    prefix = described.family.layer.format(index)
    linears = _attention(described, prefix)
    stacked: dict[str, StackedPart] = {}
    family = described.family
    if not described.is_sparse[index]:
        names = family.experts.dense if family.experts else family.feed_forward
        linears |= _feed_forward(described, prefix, names, described.inner_size)
    else:
        more, stacked = _experts(described, prefix)
        linears |= more
    return LayerTensors(_vectors(described, prefix), linears, stacked)


def embedding(described: Description) -> Part:
    """The table of the vocabulary."""
    return Part(
        (described.family.embedding,), (described.architecture.vocab_size,), described.hidden_size
    )


def head(described: Description) -> Part:
    """The last layer, of a model that has one of its own."""
    has_bias = "head" in described.biases
    return embedding(described)._replace(names=(described.family.head,), has_bias=has_bias)


def final_norm(described: Description) -> Vector:
    """The norm in front of the head."""
    return _norm(described, described.family.final_norm, described.hidden_size)


def _norm(
    described: Description, name: str, size: int, order: tuple[int, ...] | None = None
) -> Vector:
    family = described.family
    weight, bias = (
        f"{name}.{kind}" if kind in family.norm_tensors else None for kind in ("weight", "bias")
    )
    return Vector(weight, size, family.norm_offset, order, family.is_layer_norm, bias)


def expected_shapes(described: Description) -> dict[str, tuple[int, ...]]:
    """The weights of a described model, its head only where it has one of its own."""
    shape = described.architecture
    shapes: dict[str, tuple[int, ...]] = dict(_shapes_of(embedding(described)))
    shapes |= dict.fromkeys(final_norm(described).names, (described.hidden_size,))
    if not described.is_tied:
        shapes |= dict(_shapes_of(head(described)))
    for index in range(shape.num_layers):
        layer = layer_tensors(described, index)
        for vector in layer.vectors.values():
            shapes |= dict.fromkeys(vector.names, (vector.size,))
        for part in layer.linears.values():
            shapes |= dict(_shapes_of(part))
        for stack in layer.stacked.values():
            assert shape.experts is not None, "the layer has some"
            count = shape.experts.num_experts
            for name, size in zip(stack.names, stack.sizes, strict=True):
                if stack.is_packed:
                    groups = stack.width // PACKED_GROUP
                    shapes[f"{name}_blocks"] = (count, size, groups, PACKED_GROUP // 2)
                    shapes[f"{name}_scales"] = (count, size, groups)
                else:
                    turned = (stack.width, size) if stack.is_turned else (size, stack.width)
                    shapes[name] = (count, *turned)
            if stack.bias_names:
                for name, size in zip(stack.bias_names, stack.sizes, strict=True):
                    shapes[name] = (count, size)
    return shapes


def head_order(head_dim: int, rotary_size: int, *, is_interleaved: bool) -> tuple[int, ...] | None:
    """Which number of a head comes first, second, ... where those that rotate together stand half a
    head apart; None where they do so already."""
    half, rest = rotary_size // 2, range(rotary_size, head_dim)
    step = 2 if is_interleaved else 1
    firsts = [step * pair for pair in range(half)]
    seconds = [first + (1 if is_interleaved else half) for first in firsts]
    middle = len(rest) // 2
    order = (*firsts, *rest[:middle], *seconds, *rest[middle:])
    return None if order == tuple(range(head_dim)) else order


def _order_of(described: Description) -> tuple[int, ...] | None:
    return head_order(
        described.architecture.head_dim,
        described.rotary_size,
        is_interleaved=described.family.is_interleaved,
    )


def _repeated(order: tuple[int, ...] | None, num_heads: int) -> tuple[int, ...] | None:
    """A head's order for several heads in a row."""
    if order is None:
        return None
    return tuple(head * len(order) + place for head in range(num_heads) for place in order)


def _vectors(described: Description, prefix: str) -> dict[str, Vector]:
    family, shape = described.family, described.architecture
    order = _order_of(described)
    vectors = {}
    for part, name in family.norms.items():
        num_heads = {"q_norm": shape.num_heads, "k_norm": shape.num_kv_heads}.get(part, 0)
        if num_heads:
            num_heads = num_heads if family.norms_all_heads else 1
            size, places = num_heads * shape.head_dim, _repeated(order, num_heads)
        else:
            size, places = described.hidden_size, None
        vectors[part] = _norm(described, prefix + name, size, places)
    if family.sinks is not None:
        vectors["sinks"] = Vector(prefix + family.sinks, shape.num_heads)
    return vectors


def _attention(described: Description, prefix: str) -> dict[str, Part]:
    family, shape = described.family, described.architecture
    names = family.attention
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    order = _order_of(described)
    places = None
    if order is not None:
        turned = _repeated(order, shape.num_heads + shape.num_kv_heads)
        places = (*(turned or ()), *range(queries + keys, queries + 2 * keys))
    if family.is_grouped:
        grouped = _grouped(shape.num_heads, shape.num_kv_heads, shape.head_dim)
        places = tuple(grouped[place] for place in places or range(len(grouped)))
    return {
        "qkv": _joined(described, prefix, names, "qkv", (queries, keys, keys), places),
        "o": Part(
            (prefix + names["o"],), (described.hidden_size,), queries, "o" in described.biases
        ),
    }


def _grouped(num_heads: int, num_kv_heads: int, head_dim: int) -> list[int]:
    """Rows of all queries, keys and values, where each head of the keys stands beside its own."""
    each = num_heads // num_kv_heads
    heads = [group * (each + 2) + query for group in range(num_kv_heads) for query in range(each)]
    for place in (each, each + 1):
        heads += [group * (each + 2) + place for group in range(num_kv_heads)]
    return [head * head_dim + number for head in heads for number in range(head_dim)]


def _feed_forward(
    described: Description, prefix: str, names: Mapping[str, str], inner: int
) -> dict[str, Part]:
    sizes = (inner, inner) if described.architecture.is_gated else (inner,)
    return {
        "gate_up": _joined(described, prefix, names, "gate_up", sizes, None),
        "down": Part(
            (prefix + names["down"],),
            (described.hidden_size,),
            inner,
            "down" in described.biases,
        ),
    }


_JOINED = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}


def _joined(
    described: Description,
    prefix: str,
    names: Mapping[str, str],
    part: str,
    sizes: tuple[int, ...],
    order: tuple[int, ...] | None,
) -> Part:
    """A part that files hold whole or in pieces."""
    pieces = _JOINED[part][-len(sizes) :]
    has_bias = pieces[0] in described.biases
    if part in names:
        pieces, sizes = (part,), (sum(sizes),)
    found = tuple(prefix + names[piece] for piece in pieces)
    return Part(found, sizes, described.hidden_size, has_bias, order)


def _experts(described: Description, prefix: str) -> tuple[dict[str, Part], dict[str, StackedPart]]:
    table, sizes = described.family.experts, described.architecture.experts
    assert table is not None and sizes is not None, "the layer has some"
    hidden, inner = described.hidden_size, sizes.inner_size
    names = {part: prefix + name for part, name in table.tensors.items()}
    router_bias = bool(table.biases.get("router"))
    linears = {"router": Part((names["router"],), (sizes.num_experts,), hidden, router_bias)}
    stacked = {}
    if table.stacked is not None:
        stacked["gate_up"] = _stacked(described, names, "gate_up", (inner, inner), hidden)
        stacked["down"] = _stacked(described, names, "down", (hidden,), inner)
    else:
        for expert in range(sizes.num_experts):
            pair = tuple(names[part].format(expert) for part in ("gate", "up"))
            linears[expert_part(expert, "gate_up")] = Part(pair, (inner, inner), hidden)
            down = (names["down"].format(expert),)
            linears[expert_part(expert, "down")] = Part(down, (hidden,), inner)
    if table.shared and sizes.shared_size is not None:
        linears |= _feed_forward(described, prefix, table.shared, sizes.shared_size)
        if "scale" in table.shared:
            linears["shared_scale"] = Part((prefix + table.shared["scale"],), (1,), hidden)
    return linears, stacked


def _stacked(
    described: Description,
    names: Mapping[str, str],
    part: str,
    sizes: tuple[int, ...],
    width: int,
) -> StackedPart:
    """A part of all experts, whose gate and up are one tensor or two."""
    table = described.family.experts
    assert table is not None and table.stacked is not None, "they are stacked"
    kept = table.stacked
    pieces = (part,) if part in names else _JOINED[part]
    if len(pieces) < len(sizes):
        sizes = (sum(sizes),)
    order = None
    if kept.is_interleaved and part in _JOINED:
        order = (*range(0, sizes[0], 2), *range(1, sizes[0], 2))
    has_bias = bool(table.biases.get(part))
    return StackedPart(
        names=tuple(names[piece] + kept.weight for piece in pieces),
        bias_names=tuple(names[piece] + kept.bias for piece in pieces) if has_bias else (),
        sizes=sizes,
        width=width,
        is_turned=kept.is_turned,
        order=order,
        is_packed=described.is_packed,
    )


def _shapes_of(part: Part) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, size in zip(part.names, part.sizes, strict=True):
        yield f"{name}.weight", (size, part.width)
        if part.has_bias:
            yield f"{name}.bias", (size,)
