"""The weights of a decoder as our own forward reads them.

Query, key and value are one matrix, and so are gate and up: fewer, larger products a layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from core.backends.torch.linear import Embedding, Linear
from core.families.architecture import LayerKind

_VECTORS = (
    "input_norm", "q_norm", "k_norm", "sinks", "attention_out_norm", "ffn_norm", "ffn_out_norm",
)  # fmt: skip
_LINEARS = ("qkv", "o", "gate_up", "down")


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """A feed-forward for the rows that a router sends there."""

    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer; `cache_index` is its place in the KV cache.

    A norm that is None is none: what stands in front of a part, or what it makes, goes on as it is.
    Sizes are those of RMS norms; a layer norm has what it multiplies and what it adds [2, size].
    """

    cache_index: int
    input_norm: torch.Tensor | None  # [hidden]
    qkv: Linear
    q_norm: torch.Tensor | None  # [head_dim], or over all heads [num_heads * head_dim]
    k_norm: torch.Tensor | None
    o: Linear
    ffn_norm: torch.Tensor | None  # [hidden]
    gate_up: Linear | None
    """Of the feed-forward that all rows pass, without a gate `up` alone; None where there are experts
    alone."""
    down: Linear | None
    attention_out_norm: torch.Tensor | None = None  # [hidden]
    ffn_out_norm: torch.Tensor | None = None  # [hidden]
    sinks: torch.Tensor | None = None  # [num_heads]
    kind: LayerKind = LayerKind()
    router: Linear | None = None
    experts: tuple[ExpertWeights, ...] = ()
    shared_scale: Linear | None = None
    """To one number, whose sigmoid scales what all rows pass beside experts."""

    def linears(self) -> dict[str, Linear]:
        """The large linear layers by name; a router is none."""
        found = {name: getattr(self, name) for name in _LINEARS}
        for index, expert in enumerate(self.experts):
            found[f"experts.{index}.gate_up"] = expert.gate_up
            found[f"experts.{index}.down"] = expert.down
        return {name: linear for name, linear in found.items() if linear is not None}

    def with_linears(self, linears: Mapping[str, Linear]) -> "LayerWeights":
        """The same layer with others in the place of those named as by `linears`."""
        own: dict[str, Any] = {name: linears[name] for name in _LINEARS if name in linears}
        experts = tuple(
            ExpertWeights(
                linears.get(f"experts.{index}.gate_up", expert.gate_up),
                linears.get(f"experts.{index}.down", expert.down),
            )
            for index, expert in enumerate(self.experts)
        )
        return replace(self, **own, experts=experts)

    def vectors(self) -> dict[str, torch.Tensor]:
        """Norms and sinks by name."""
        found = {name: getattr(self, name) for name in _VECTORS}
        return {name: vector for name, vector in found.items() if vector is not None}


@dataclass(frozen=True, slots=True)
class LayerStack:
    """A whole network over one embedding: the target's own, or a cheaper one that drafts."""

    layers: Sequence[LayerWeights]
    """A tuple, or layers that come to the device when they are iterated over."""
    embedding: Embedding
    """The very object of `head` where they are tied."""
    final_norm: torch.Tensor  # [hidden], of a layer norm [2, hidden]
    head: Linear

    def linears(self) -> list[Linear]:
        """Every large linear layer, the head last."""
        per_layer = [list(layer.linears().values()) for layer in self.layers]
        return [linear for group in per_layer for linear in group] + [self.head]

    @property
    def is_tied(self) -> bool:
        """Whether the head is the embedding."""
        table: object = self.embedding
        return table is self.head

    @property
    def num_bytes(self) -> int:
        """Memory of all linear layers on their device, with the embedding where it is the head."""
        streamed_bytes = getattr(self.layers, "num_device_bytes", None)
        if streamed_bytes is not None:
            return int(streamed_bytes) + self.head.num_bytes
        return sum(linear.num_bytes for linear in self.linears())

    @property
    def num_embedding_bytes(self) -> int:
        """Memory of the embedding beside the linear layers."""
        return 0 if self.is_tied else self.embedding.num_bytes

    @property
    def num_norm_bytes(self) -> int:
        """Memory of the norms' weights, and of sinks."""
        vectors = [vector for layer in self.layers for vector in layer.vectors().values()]
        return sum(vector.nbytes for vector in (self.final_norm, *vectors))
