"""The weights of a Llama-shaped model, taken from its transformers module and fused.

Query, key and value become one matrix, and so do gate and up: fewer, larger products a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from core.backends.torch.linear import DenseLinear, Embedding, Linear
from core.backends.torch.support import SUPPORTED, unsupported_reason


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes that all layers share."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    norm_eps: float


class Rotation(NamedTuple):
    """How far a position rotates the pairs of a head's numbers."""

    inv_freq: torch.Tensor  # [head_dim / 2] float32
    scaling: float
    """Of cosines and sines."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer; `cache_index` is its place in the KV cache."""

    cache_index: int
    input_norm: torch.Tensor  # [hidden]
    qkv: Linear
    q_norm: torch.Tensor | None  # [head_dim]
    k_norm: torch.Tensor | None
    o: Linear
    post_norm: torch.Tensor  # [hidden]
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class LayerStack:
    """A whole network over one embedding: the target's own, or a cheaper one that drafts."""

    layers: Sequence[LayerWeights]
    """A tuple, or layers that come to the device when they are iterated over."""
    embedding: Embedding
    """The very object of `head` where they are tied."""
    final_norm: torch.Tensor  # [hidden]
    head: Linear

    def linears(self) -> list[Linear]:
        """Every linear layer, the head last."""
        per_layer = [[layer.qkv, layer.o, layer.gate_up, layer.down] for layer in self.layers]
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
        """Memory of the norms' weights."""
        norms = [self.final_norm]
        for layer in self.layers:
            found = (layer.input_norm, layer.q_norm, layer.k_norm, layer.post_norm)
            norms += [norm for norm in found if norm is not None]
        return sum(norm.nbytes for norm in norms)


def unsupported_module(module: Any) -> str | None:
    """Why our own forward cannot compute a transformers module; None where it can."""
    config = module.config
    if type(module).__name__ != SUPPORTED.get(config.model_type):
        return f"{type(module).__name__} is not one of {', '.join(SUPPORTED.values())}"
    return unsupported_reason(config.to_dict())


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", 0) or config.hidden_size // config.num_attention_heads)


def shape_of(module: Any) -> Shape:
    config = module.config
    return Shape(
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=_head_dim(config),
        vocab_size=config.vocab_size,
        norm_eps=config.rms_norm_eps,
    )


def rotation_of(module: Any) -> Rotation:
    """The rotation of a supported module's own rotary part."""
    rotary = module.base_model.rotary_emb
    return Rotation(rotary.inv_freq.float(), float(rotary.attention_scaling))


def stack_of(module: Any) -> LayerStack:
    """Fuses a supported module's weights. Its own projections then share the fused memory."""
    base = module.base_model
    head = DenseLinear(module.lm_head.weight.data, _data(module.lm_head.bias))
    table = base.embed_tokens.weight.data
    is_tied = table.data_ptr() == head.weight.data_ptr() and head.bias is None
    return LayerStack(
        layers=tuple(_layer(layer, index) for index, layer in enumerate(base.layers)),
        embedding=head if is_tied else DenseLinear(table),
        final_norm=base.norm.weight.data,
        head=head,
    )


def _layer(layer: Any, index: int) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        cache_index=index,
        input_norm=layer.input_layernorm.weight.data,
        qkv=_fuse(attention.q_proj, attention.k_proj, attention.v_proj),
        q_norm=attention.q_norm.weight.data if hasattr(attention, "q_norm") else None,
        k_norm=attention.k_norm.weight.data if hasattr(attention, "k_norm") else None,
        o=DenseLinear(attention.o_proj.weight.data, _data(attention.o_proj.bias)),
        post_norm=layer.post_attention_layernorm.weight.data,
        gate_up=_fuse(mlp.gate_proj, mlp.up_proj),
        down=DenseLinear(mlp.down_proj.weight.data, _data(mlp.down_proj.bias)),
    )


def _fuse(*projections: Any) -> DenseLinear:
    """One linear for several; the parts become views of it, so that no weight is held twice."""
    weight = torch.cat([part.weight.data for part in projections])
    has_bias = projections[0].bias is not None
    bias = torch.cat([part.bias.data for part in projections]) if has_bias else None
    start = 0
    for part in projections:
        end = start + part.out_features
        part.weight.data = weight[start:end]
        if bias is not None:
            part.bias.data = bias[start:end]
        start = end
    return DenseLinear(weight, bias)


def _data(parameter: Any) -> torch.Tensor | None:
    return None if parameter is None else parameter.data
