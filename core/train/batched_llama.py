"""The forward of a Llama-shaped module over a batch of rows, with or without gradients.

A layer is a function of tensors, so that one compiled kernel set serves all layers of a size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.errors import InvalidSettingError
from core.families.architecture import LayerKind
from core.families.description import describe, reason_against

# Attention of a layer: queries, keys and values, each [batch, heads, length, head_dim].
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

# Families whose layers are these.
_TRAINED = ("llama", "mistral", "qwen2", "qwen3")


class Rotation(NamedTuple):
    """Rotary tables for some positions."""

    cos: torch.Tensor  # [1, 1, length, head_dim]
    sin: torch.Tensor


class LayerTensors(NamedTuple):
    """The parameters of a decoder layer."""

    input_norm: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    q_bias: torch.Tensor | None
    k_bias: torch.Tensor | None
    v_bias: torch.Tensor | None
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    o: torch.Tensor
    ffn_norm: torch.Tensor
    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor


def check_supported(module: Any) -> None:
    """Raises InvalidSettingError for a model that is not Llama-shaped."""
    config = module.config.to_dict()
    reason = reason_against(config)
    if reason is None:
        described = describe(config)
        kinds = set(described.kinds)
        is_plain = described.architecture.activation == "silu" and kinds == {LayerKind()}
        if config["model_type"] not in _TRAINED or not is_plain:
            reason = f"{config['model_type']} has more than the layers of {', '.join(_TRAINED)}"
    if reason is not None:
        raise InvalidSettingError(f"drafters cannot be trained for this target: {reason}.")


def rotation_of(module: Any, positions: torch.Tensor) -> Rotation:  # [length]
    """The tables by the model's own rotary module."""
    like = module.base_model.norm.weight
    cos, sin = module.base_model.rotary_emb(like, positions[None])
    return Rotation(cos[:, None].to(like.dtype), sin[:, None].to(like.dtype))


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:  # [batch, heads, length, head_dim]
    """Rotary position embedding (Su et al. 2021) in the halves' convention."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return x * rotation.cos.to(x.dtype) + turned * rotation.sin.to(x.dtype)


def layer_tensors(layer: Any) -> LayerTensors:
    """The parameters of a transformers layer, shared, not copied."""
    attention, mlp = layer.self_attn, layer.mlp
    return LayerTensors(
        input_norm=layer.input_layernorm.weight,
        q=attention.q_proj.weight,
        k=attention.k_proj.weight,
        v=attention.v_proj.weight,
        q_bias=attention.q_proj.bias,
        k_bias=attention.k_proj.bias,
        v_bias=attention.v_proj.bias,
        q_norm=attention.q_norm.weight if hasattr(attention, "q_norm") else None,
        k_norm=attention.k_norm.weight if hasattr(attention, "k_norm") else None,
        o=attention.o_proj.weight,
        ffn_norm=layer.post_attention_layernorm.weight,
        gate=mlp.gate_proj.weight,
        up=mlp.up_proj.weight,
        down=mlp.down_proj.weight,
    )


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMS norm in the dtype of the rows."""
    return F.rms_norm(x, x.shape[-1:], weight.to(x.dtype), eps)


def layer_forward(
    weights: LayerTensors,
    x: torch.Tensor,  # [batch, length, hidden]
    rotation: Rotation,
    head_dim: int,
    eps: float,
    attend: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """One decoder layer  # [batch, length, hidden]."""
    batch, length, _ = x.shape
    normed = norm(x, weights.input_norm, eps)
    queries, keys, values = (
        F.linear(normed, weight, bias).view(batch, length, -1, head_dim)
        for weight, bias in (
            (weights.q, weights.q_bias),
            (weights.k, weights.k_bias),
            (weights.v, weights.v_bias),
        )
    )
    if weights.q_norm is not None and weights.k_norm is not None:
        queries, keys = norm(queries, weights.q_norm, eps), norm(keys, weights.k_norm, eps)
    attended = attend(
        rotate(queries.transpose(1, 2), rotation),
        rotate(keys.transpose(1, 2), rotation),
        values.transpose(1, 2),
    )
    x = x + F.linear(attended.transpose(1, 2).reshape(batch, length, -1), weights.o)
    normed = norm(x, weights.ffn_norm, eps)
    gated = F.silu(F.linear(normed, weights.gate)) * F.linear(normed, weights.up)
    return x + F.linear(gated, weights.down)


def masked_layer(
    weights: LayerTensors,
    x: torch.Tensor,  # [batch, length, hidden]
    rotation: Rotation,
    head_dim: int,
    eps: float,
    mask: torch.Tensor,  # [batch, 1, length, length]
) -> torch.Tensor:
    """A layer with attention under an additive mask; keys of a group are repeated."""

    def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        groups = queries.shape[1] // keys.shape[1]
        keys = keys.repeat_interleave(groups, dim=1)
        values = values.repeat_interleave(groups, dim=1)
        return F.scaled_dot_product_attention(queries, keys, values, mask.to(queries.dtype))

    return layer_forward(weights, x, rotation, head_dim, eps, attend)


LayerFunction = Callable[..., torch.Tensor]


class PackedForward:
    """Hidden states of a module over packed rows; compiled on a GPU."""

    def __init__(self, module: Any):
        self._module = module
        self._layer: LayerFunction = masked_layer
        if module.device.type == "cuda":
            self._layer = torch.compile(masked_layer)

    def __call__(
        self,
        token_ids: torch.Tensor,  # [batch, length]
        mask: torch.Tensor,  # [batch, 1, length, length]
        keep: tuple[int, ...] = (),
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The normed last hidden states, and those in front of the layers named by `keep`.

        Layer `num_layers` stands for the state behind the last one.
        All  # [batch, length, hidden].
        """
        base, config = self._module.base_model, self._module.config
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        rotation = rotation_of(self._module, positions)
        head_dim, eps = base.layers[0].self_attn.head_dim, config.rms_norm_eps
        x = F.embedding(token_ids, base.embed_tokens.weight)
        kept = {}
        for index, layer in enumerate(base.layers):
            if index in keep:
                kept[index] = x
            x = self._layer(layer_tensors(layer), x, rotation, head_dim, eps, mask)
        kept[len(base.layers)] = x
        return norm(x, base.norm.weight, eps), [kept[index] for index in keep]


def packed_mask(
    documents: torch.Tensor,  # [batch, length]
    dtype: torch.dtype,
) -> torch.Tensor:
    """Additive mask: a token sees those before it in its own document  # [batch, 1, length, length].

    Padding counts as a document, so that no row is without a key.
    """
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    same = (documents[:, :, None] == documents[:, None, :]) & causal
    mask = torch.zeros(same.shape, dtype=dtype, device=documents.device)
    return mask.masked_fill_(~same, torch.finfo(dtype).min)[:, None]
