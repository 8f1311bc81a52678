"""The forward of a described decoder over packed rows, with gradients where its weights ask for them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from core.backends.torch.arithmetic import normalized, scaled_rows
from core.backends.torch.attention import attend
from core.backends.torch.forward import RotaryTable
from core.backends.torch.layer import Attend, decoder_layer
from core.backends.torch.weights import LayerStack, LayerWeights
from core.backends.windows import hidden
from core.families.architecture import Architecture, LayerKind


class PackedText:
    """Where the tokens of packed rows stand, and what they see."""

    def __init__(
        self,
        documents: torch.Tensor,  # [batch, length]
        dtype: torch.dtype,
    ):
        """Padding counts as a document, so that no row is without a key. Masks are of the `dtype`."""
        self._documents = documents
        self._dtype = dtype
        self._positions = _positions(documents)
        self._masks: dict[tuple[int | None, int | None], torch.Tensor] = {}

    @property
    def positions(self) -> torch.Tensor:
        """Of the tokens in their documents  # [batch * length]."""
        return self._positions.flatten()

    def mask(self, kind: LayerKind) -> torch.Tensor:
        """Additive: a token sees those before it in its own document, as far as a layer of the kind
        sees  # [batch, 1, length, length]."""
        key = kind.window, kind.chunk
        if key not in self._masks:
            self._masks[key] = self._mask(*key)
        return self._masks[key]

    def _mask(self, window: int | None, chunk: int | None) -> torch.Tensor:
        documents, length = self._documents, self._documents.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
        seen = (documents[:, :, None] == documents[:, None, :]) & causal
        if window is not None or chunk is not None:
            seen &= ~hidden(self._positions, self._positions, window, chunk)
        mask = torch.zeros(seen.shape, dtype=self._dtype, device=documents.device)
        return mask.masked_fill_(~seen, torch.finfo(self._dtype).min)[:, None]


class PackedStates(NamedTuple):
    """What a forward made of packed rows."""

    normed: torch.Tensor  # [batch, length, hidden]
    """What the output layer reads."""
    kept: torch.Tensor  # [batch, length, num_kept * hidden]
    """The states in front of the layers that were asked for, beside each other."""


class PackedForward:
    """Layers over packed rows; compiled on a GPU, where no choice of experts stands between."""

    def __init__(self, shape: Architecture, rotary: RotaryTable, device: torch.device):
        self._shape = shape
        self._rotary = rotary
        is_compiled = device.type == "cuda" and shape.experts is None
        self._layer: Callable[..., torch.Tensor] = packed_layer
        if is_compiled:
            self._layer = torch.compile(packed_layer)

    def __call__(
        self,
        stack: LayerStack,
        token_ids: torch.Tensor,  # [batch, length]
        text: PackedText,
        keep: tuple[int, ...] = (),
    ) -> PackedStates:
        """`keep` names layers; `num_layers` stands for the state behind the last one."""
        self._rotary.reserve(token_ids.shape[1])
        positions = text.positions
        rotation = self._rotary.at(positions)
        x = scaled_rows(self._shape, stack.embedding.rows(token_ids.flatten()))
        states = {}
        for index, weights in enumerate(stack.layers):
            if index in keep:
                states[index] = x
            mask = text.mask(weights.kind)
            x = self._layer(self._shape, weights, x, positions, rotation, mask)
        states[len(stack.layers)] = x
        normed = normalized(x, stack.final_norm, self._shape.norm_eps)
        kept = torch.cat([states[index] for index in keep], dim=-1) if keep else x[:, :0]
        size = token_ids.shape
        return PackedStates(normed.unflatten(0, size), kept.unflatten(0, size))


def packed_layer(
    shape: Architecture,
    weights: LayerWeights,
    x: torch.Tensor,  # [batch * length, hidden]
    positions: torch.Tensor,  # [batch * length]
    rotation: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor,  # [batch, 1, length, length]
) -> torch.Tensor:
    """One decoder layer over packed rows  # [batch * length, hidden]."""
    normed = normalized(x, weights.input_norm, shape.norm_eps)
    attention = _attention(shape, weights, mask)
    return decoder_layer(shape, weights, x, normed, positions, rotation, attention)


def by_heads(
    rows: torch.Tensor,  # [batch * length, heads, head_dim]
    batch: int,
    num_heads: int,
) -> torch.Tensor:
    """With heads in front, those of a group repeated  # [batch, num_heads, length, head_dim]."""
    heads = rows.unflatten(0, (batch, -1)).transpose(1, 2)
    repeated: torch.Tensor = heads.repeat_interleave(num_heads // heads.shape[1], dim=1)
    return repeated


def by_rows(
    heads: torch.Tensor,  # [batch, heads, length, head_dim]
) -> torch.Tensor:
    """The way back  # [batch * length, heads * head_dim]."""
    return heads.transpose(1, 2).flatten(0, 1).flatten(1)


def _attention(
    shape: Architecture,
    weights: LayerWeights,
    mask: torch.Tensor,  # [batch, 1, length, length]
) -> Attend:
    def attend_packed(
        queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        queries, keys, values = (
            by_heads(part, len(mask), shape.num_heads) for part in (queries, keys, values)
        )
        own_mask, sinks = mask.to(queries.dtype), weights.sinks
        if shape.attention_cap is None and sinks is None:
            attended = F.scaled_dot_product_attention(
                queries, keys, values, own_mask, scale=shape.scale
            )
        else:
            attended = attend(
                queries, keys, values, own_mask, scale=shape.scale, cap=shape.attention_cap,
                sinks=None if sinks is None else sinks[:, None, None],
            )  # fmt: skip
        return by_rows(attended)

    return attend_packed


def _positions(
    documents: torch.Tensor,  # [batch, length]
) -> torch.Tensor:
    """How far behind its document's first token each one stands  # [batch, length]."""
    columns = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    is_first = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return columns - columns.where(is_first, 0).cummax(dim=1).values
