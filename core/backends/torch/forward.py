"""Our own forward of Llama-shaped models: straight over rows and the preallocated cache.

Computes what transformers' modules compute (Touvron et al. 2023; grouped heads of Ainslie et al.
2023), without batch dimension, module calls or repeated key and value heads.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock, joined, joined_positions, joined_token_ids, row_slices
from core.backends.torch.exact_attention import attend_exactly
from core.backends.torch.weights import LayerStack, LayerWeights, Rotation, Shape

# Up to so many rows, the heads of a group are laid beside each other as more rows: attention then
# reads each key once. For wide prompts the repeated mask would cost more than that saves.
_MAX_GROUPED_ROWS = 256


class RotaryTable:
    """Cosines and signed sines of all positions, the numbers of transformers' rotary modules."""

    def __init__(self, rotation: Rotation, dtype: torch.dtype, device: torch.device):
        self._rotation = rotation
        self._dtype = dtype
        self._device = device
        self.cos = torch.empty(0)  # [positions, 1, head_dim]
        self.sin = torch.empty(0)

    def reserve(self, num_positions: int) -> None:
        """Makes the table reach at least so far."""
        if self.cos.shape[0] >= num_positions:
            return
        inv_freq, scaling = self._rotation.inv_freq.to(self._device), self._rotation.scaling
        positions = torch.arange(num_positions, device=inv_freq.device)
        angles = torch.outer(positions.float(), inv_freq)  # [positions, head_dim / 2]
        cos, sin = angles.cos() * scaling, angles.sin() * scaling
        # Rotating a half is rolling it; the sign of the first half is kept in the sines.
        self.cos = torch.cat([cos, cos], dim=-1)[:, None].to(self._dtype)
        self.sin = torch.cat([-sin, sin], dim=-1)[:, None].to(self._dtype)

    def at(
        self,
        positions: torch.Tensor,  # [rows]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and signed sines of the rows  # [rows, 1, head_dim] both."""
        return self.cos.index_select(0, positions), self.sin.index_select(0, positions)


class Span(NamedTuple):
    """The rows of one block among all, and what their attention reads."""

    rows: slice
    cache: TreeCache
    mask: torch.Tensor | None
    """As attention takes it: repeated for a group's heads where the rows are few."""


class TorchForward:
    """Implements `core.backends.runner.TargetForward` over a LayerStack."""

    name = "lean"
    can_branch = True
    state_norm: torch.Tensor | None = None  # [hidden]
    """Of a head whose rows come with given states: their norm."""
    state_size: int | None = None
    """Width of the states that rows come with; None for rows that are tokens alone."""

    def __init__(
        self, shape: Shape, stack: LayerStack, rotary: RotaryTable, *, exact_sums: bool = False
    ):
        """`exact_sums` makes a row's attention independent of where its keys stand."""
        self.shape = shape
        self.stack = stack
        self.rotary = rotary
        self._exact_sums = exact_sums
        self._scale = shape.head_dim**-0.5
        self._groups = shape.num_heads // shape.num_kv_heads

    def with_stack(self, stack: LayerStack) -> "TorchForward":
        """The same shape and positions over other weights."""
        return TorchForward(self.shape, stack, self.rotary, exact_sums=self._exact_sums)

    def with_exact_sums(self) -> "TorchForward":
        """The same weights with `attend_exactly`, for shape-invariant execution."""
        return TorchForward(self.shape, self.stack, self.rotary, exact_sums=True)

    @property
    def num_token_ids(self) -> int:
        """See `TargetForward.num_token_ids`."""
        return self.stack.embedding.out_features

    @property
    def pack_key(self) -> Hashable:
        """See `TargetForward.pack_key`."""
        return type(self), id(self.stack), self._exact_sums

    @property
    def is_static(self) -> bool:
        """Whether all its weights stay where they are."""
        return isinstance(self.stack.layers, tuple)

    def use(self, stack: LayerStack) -> None:
        """From now on computes with other weights, and holds nothing of the old ones."""
        self.stack = stack

    @property
    def kernel_names(self) -> list[str]:
        """What multiplies, for the trace."""
        return sorted({linear.kernel for linear in self.stack.linears()})

    def reserve(self, num_positions: int) -> None:
        """Prepares for positions below `num_positions`."""
        self.rotary.reserve(num_positions)

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`."""
        spans = self.spans(blocks)
        rotation = self.rotary.at(joined_positions(blocks))
        x = self.stack.embedding.rows(joined_token_ids(blocks))  # [rows, hidden]
        for index, layer in enumerate(self.stack.layers):
            _keep_states(spans, index, x)
            x = self.layer(layer, x, self.norm(x, layer.input_norm), rotation, spans)
        _keep_states(spans, len(self.stack.layers), x)
        if not want_logits:
            return None
        return self.stack.head(self.norm(x, self.stack.final_norm))  # [rows, vocab]

    def norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """RMS norm over the last dimension."""
        return F.rms_norm(x, x.shape[-1:], weight, self.shape.norm_eps)

    def spans(self, blocks: Sequence[RowBlock]) -> list[Span]:
        """The blocks as attention goes through them."""
        return [
            Span(rows, block.cache, self._grouped_mask(block.mask))
            for rows, block in zip(row_slices(blocks), blocks, strict=True)
        ]

    def _grouped_mask(
        self,
        mask: torch.Tensor | None,  # [rows, columns]
    ) -> torch.Tensor | None:
        if mask is None:
            return None
        is_grouped = len(mask) <= _MAX_GROUPED_ROWS
        return mask.repeat(self._groups, 1)[None, None] if is_grouped else mask[None, None]

    def layer(
        self,
        layer: LayerWeights,
        x: torch.Tensor,  # [rows, hidden]
        normed: torch.Tensor,  # [rows, width of the layer's input]
        rotation: tuple[torch.Tensor, torch.Tensor],
        spans: Sequence[Span],
    ) -> torch.Tensor:
        """One decoder layer on the residual `x`, whose attention reads `normed`  # [rows, hidden]."""
        x = x + layer.o(self._attend(layer, normed, rotation, spans))
        gate, up = layer.gate_up(self.norm(x, layer.post_norm)).chunk(2, dim=-1)
        return x + layer.down(F.silu(gate).mul_(up))

    def _attend(
        self,
        layer: LayerWeights,
        normed: torch.Tensor,  # [rows, width of the layer's input]
        rotation: tuple[torch.Tensor, torch.Tensor],
        spans: Sequence[Span],
    ) -> torch.Tensor:
        """Attention of all rows, each over its own cache  # [rows, heads * dim]."""
        shape = self.shape
        rows, num_heads, num_kv_heads = normed.shape[0], shape.num_heads, shape.num_kv_heads
        qkv = layer.qkv(normed).view(rows, num_heads + 2 * num_kv_heads, shape.head_dim)
        qk = qkv[:, : num_heads + num_kv_heads]
        if layer.q_norm is not None and layer.k_norm is not None:
            q_normed = F.rms_norm(
                qk[:, :num_heads], (shape.head_dim,), layer.q_norm, shape.norm_eps
            )
            k_normed = F.rms_norm(
                qk[:, num_heads:], (shape.head_dim,), layer.k_norm, shape.norm_eps
            )
            qk = torch.cat([q_normed, k_normed], dim=1)
        cos, sin = rotation
        qk = torch.addcmul(qk * cos, qk.roll(shape.head_dim // 2, dims=-1), sin)
        queries, new_keys = qk[:, :num_heads], qk[:, num_heads:]
        new_values = qkv[:, num_heads + num_kv_heads :]
        attended = []
        for span in spans:
            kv = self._write(span, layer.cache_index, new_keys[span.rows], new_values[span.rows])
            attended.append(self._attend_span(queries[span.rows], *kv, span.mask))
        return joined(attended)

    def _write(
        self,
        span: Span,
        cache_index: int,
        new_keys: torch.Tensor,  # [rows, kv_heads, dim]
        new_values: torch.Tensor,  # [rows, kv_heads, dim]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts them into the cache; all that the rows may read  # [1, kv_heads, columns, dim] both."""
        cache, mask = span.cache, span.mask
        start, end = cache.write_start, cache.write_start + new_keys.shape[0]
        num_columns = end if mask is None else mask.shape[-1]
        keys, values = cache.storage[cache_index, :, 0].unbind(0)  # [kv_heads, capacity, dim]
        keys[:, start:end] = new_keys.transpose(0, 1)
        values[:, start:end] = new_values.transpose(0, 1)
        return keys[None, :, :num_columns], values[None, :, :num_columns]

    def _attend_span(
        self,
        queries: torch.Tensor,  # [rows, heads, dim]
        keys: torch.Tensor,  # [1, kv_heads, columns, dim]
        values: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attention of one sequence's rows  # [rows, heads * dim]."""
        shape, rows = self.shape, queries.shape[0]
        if rows > _MAX_GROUPED_ROWS:
            attended = F.scaled_dot_product_attention(
                queries.transpose(0, 1)[None],
                keys,
                values,
                mask,
                scale=self._scale,
                enable_gqa=True,
            )
            return attended[0].transpose(0, 1).reshape(rows, -1)
        # [1, kv_heads, groups * rows, dim]: head h reads the keys of kv head h // groups.
        grouped = queries.view(rows, shape.num_kv_heads, self._groups, shape.head_dim)
        grouped = grouped.permute(1, 2, 0, 3).reshape(1, shape.num_kv_heads, -1, shape.head_dim)
        if self._exact_sums and mask is not None:
            attended = attend_exactly(grouped, keys, values, mask, scale=self._scale)
        else:
            attended = F.scaled_dot_product_attention(
                grouped, keys, values, mask, scale=self._scale
            )
        attended = attended.view(shape.num_kv_heads, self._groups, rows, shape.head_dim)
        return attended.permute(2, 0, 1, 3).reshape(rows, -1)


def _keep_states(spans: Sequence[Span], layer: int, x: torch.Tensor) -> None:
    """Puts the states in front of a layer where a sequence's drafter reads them."""
    for span in spans:
        if span.cache.hidden_states is not None:
            span.cache.hidden_states.put(layer, x[span.rows], span.cache.write_start)
