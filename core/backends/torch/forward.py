"""Our own forward of a described decoder, straight over rows and the preallocated cache.

Computes what transformers' modules compute of every family in `core.families`, without batch
dimension, module calls or repeated key and value heads. It is what the compiled backends are held
against.
"""

from collections.abc import Hashable, Sequence

import torch
import torch.nn.functional as F

from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock, joined, joined_positions, joined_token_ids, row_slices
from core.backends.torch.arithmetic import bounded_logits, normalized, scaled_rows
from core.backends.torch.attention import attend_grouped
from core.backends.torch.layer import Attend, decoder_layer
from core.backends.torch.weights import LayerStack, LayerWeights
from core.backends.windows import View, note_positions, view_of
from core.families.architecture import Architecture, LayerKind, Rotation

# Up to so many rows, the heads of a group are laid beside each other as more rows: attention then
# reads each key once. For wide prompts the repeated mask would cost more than that saves.
_MAX_GROUPED_ROWS = 256


class RotaryTable:
    """Cosines and signed sines of all positions, the numbers of transformers' rotary modules."""

    def __init__(self, rotations: Sequence[Rotation], dtype: torch.dtype, device: torch.device):
        self._rotations = rotations
        self._dtype = dtype
        self._device = device
        self.cos = torch.empty(len(rotations), 0)  # [rotations, positions, 1, head_dim]
        self.sin = torch.empty(len(rotations), 0)

    def reserve(self, num_positions: int) -> None:
        """Makes the table reach at least so far."""
        if self.cos.shape[1] >= num_positions:
            return
        positions = torch.arange(num_positions, device=self._device).float()
        tables = [self._table(rotation, positions) for rotation in self._rotations]
        self.cos = torch.stack([cos for cos, _ in tables])[:, :, None].to(self._dtype)
        self.sin = torch.stack([sin for _, sin in tables])[:, :, None].to(self._dtype)

    def _table(
        self,
        rotation: Rotation,
        positions: torch.Tensor,  # [positions] float32
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """# [positions, head_dim] both"""
        inv_freq = rotation.inv_freq.to(self._device)
        angles = torch.outer(positions, inv_freq)  # [positions, head_dim / 2]
        scaling = torch.where(inv_freq == 0, 1.0, rotation.scaling)
        cos, sin = angles.cos() * scaling, angles.sin() * scaling
        # Rotating a half is rolling it; the sign of the first half is kept in the sines.
        return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)

    def at(
        self,
        positions: torch.Tensor,  # [rows]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and signed sines of the rows  # [rotations, rows, 1, head_dim] both."""
        return self.cos.index_select(1, positions), self.sin.index_select(1, positions)


class Span:
    """The rows of one block among all, and what their attention reads."""

    def __init__(self, rows: slice, block: RowBlock, groups: int, *, keeps_columns: bool):
        self.rows = rows
        self.block = block
        self._groups = groups
        self._keeps_columns = keeps_columns
        self._views: dict[tuple[int | None, int | None], View] = {}

    @property
    def cache(self) -> TreeCache:
        return self.block.cache

    def view(self, kind: LayerKind) -> View:
        """What a layer of a kind sees. The mask is as attention takes it: repeated for a group's
        heads where the rows are few  # [1, 1, rows, columns]"""
        key = kind.window, kind.chunk
        if key not in self._views:
            if not kind.sees_all and all(seen == (None, None) for seen in self._views):
                note_positions(self.block)
            found = view_of(self.block, *key, keeps_columns=self._keeps_columns)
            mask = found.mask
            if mask is not None:
                is_grouped = len(mask) <= _MAX_GROUPED_ROWS
                mask = (mask.repeat(self._groups, 1) if is_grouped else mask)[None, None]
            self._views[key] = View(mask, found.first)
        return self._views[key]


class TorchForward:
    """Implements `core.backends.runner.TargetForward` over a LayerStack."""

    name = "lean"
    can_branch = True
    state_norm: torch.Tensor | None = None  # [hidden]
    """Of a head whose rows come with given states: their norm."""
    state_size: int | None = None
    """Width of the states that rows come with; None for rows that are tokens alone."""

    def __init__(
        self,
        shape: Architecture,
        stack: LayerStack,
        rotary: RotaryTable,
        *,
        exact_sums: bool = False,
    ):
        """`exact_sums` makes a row's attention independent of where its keys stand."""
        self.shape = shape
        self.stack = stack
        self.rotary = rotary
        self._exact_sums = exact_sums
        self._groups = shape.num_heads // shape.num_kv_heads

    def with_stack(self, stack: LayerStack) -> "TorchForward":
        """The same shape and positions over other weights."""
        return TorchForward(self.shape, stack, self.rotary, exact_sums=self._exact_sums)

    def with_exact_sums(self) -> "TorchForward":
        """The same weights with exact sums, for shape-invariant execution."""
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
        positions = joined_positions(blocks)
        rotation = self.rotary.at(positions)
        shape, stack = self.shape, self.stack
        x = scaled_rows(shape, stack.embedding.rows(joined_token_ids(blocks)))
        for index, weights in enumerate(stack.layers):
            keep_states(spans, index, x)
            x = decoder_layer(
                shape, weights, x, normalized(x, weights.input_norm, shape.norm_eps), positions,
                rotation, self.attention(weights, spans), has_one_shape=self._exact_sums,
            )  # fmt: skip
        keep_states(spans, len(stack.layers), x)
        if not want_logits:
            return None
        return bounded_logits(shape, stack.head(normalized(x, stack.final_norm, shape.norm_eps)))

    def spans(self, blocks: Sequence[RowBlock]) -> list[Span]:
        """The blocks as attention goes through them."""
        return [
            Span(rows, block, self._groups, keeps_columns=self._exact_sums)
            for rows, block in zip(row_slices(blocks), blocks, strict=True)
        ]

    def attention(self, weights: LayerWeights, spans: Sequence[Span]) -> Attend:
        """How a layer's rows attend, each block's over its own cache, into which it writes them."""

        def attend_spans(
            queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
        ) -> torch.Tensor:
            attended = []
            for span in spans:
                view = span.view(weights.kind)
                kv = self._write(span, view, weights, keys[span.rows], values[span.rows])
                attended.append(self._attend_span(weights, queries[span.rows], *kv, view.mask))
            return joined(attended)

        return attend_spans

    def _write(
        self,
        span: Span,
        view: View,
        layer: LayerWeights,
        new_keys: torch.Tensor,  # [rows, kv_heads, dim]
        new_values: torch.Tensor,  # [rows, kv_heads, dim]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts them into the cache; all that the rows may read  # [1, kv_heads, columns, dim] both."""
        cache = span.cache
        start, end = cache.write_start, cache.write_start + new_keys.shape[0]
        last = end if view.mask is None else view.first + view.mask.shape[-1]
        keys, values = cache.storage[layer.cache_index, :, 0].unbind(0)  # [kv_heads, capacity, dim]
        keys[:, start:end] = new_keys.transpose(0, 1)
        values[:, start:end] = new_values.transpose(0, 1)
        return keys[None, :, view.first : last], values[None, :, view.first : last]

    def _attend_span(
        self,
        layer: LayerWeights,
        queries: torch.Tensor,  # [rows, heads, dim]
        keys: torch.Tensor,  # [1, kv_heads, columns, dim]
        values: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attention of one sequence's rows  # [rows, heads * dim]."""
        shape, rows = self.shape, queries.shape[0]
        is_plain = shape.attention_cap is None and layer.sinks is None
        if rows > _MAX_GROUPED_ROWS and is_plain:
            attended = F.scaled_dot_product_attention(
                queries.transpose(0, 1)[None],
                keys,
                values,
                mask,
                scale=shape.scale,
                enable_gqa=True,
            )
            return attended[0].transpose(0, 1).reshape(rows, -1)
        is_exact = self._exact_sums and mask is not None
        return attend_grouped(
            shape, queries, keys, values, mask, sinks=layer.sinks, is_exact=is_exact
        )


def keep_states(spans: Sequence[Span], layer: int, x: torch.Tensor) -> None:
    """Puts the states in front of a layer where a sequence's drafter reads them."""
    for span in spans:
        if span.cache.hidden_states is not None:
            span.cache.hidden_states.put(layer, x[span.rows], span.cache.write_start)
