"""Our own forward in compiled kernels: one call for all layers and rows.

A row's arithmetic does not depend on the rows beside it nor on where its keys stand in the cache,
so that prompts, drafts, verification and plain decoding agree in every bit.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch

from core.backends.cpu.library import (
    NOTED_FACTS,
    BlockStruct,
    FactsRoom,
    Kernels,
    LayerStruct,
    LinearStruct,
    ModelStruct,
    RowsStruct,
    ViewStruct,
    check_floats,
    check_indices,
)
from core.backends.cpu.linear import CpuLinear, can_read_dense, cpu_bytes, cpu_dense
from core.backends.logit_facts import note_facts
from core.backends.row_block import (
    RowBlock,
    joined_positions,
    joined_token_ids,
    num_rows,
    row_slices,
)
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.sizes import check_sizes
from core.backends.torch.weights import LayerStack, LayerWeights
from core.backends.windows import note_positions, positions_of
from core.families.architecture import Architecture

_HEAD_DIM_STEP = 8
_LARGEST_HEAD_DIM = 512


class CpuForward(TorchForward):
    """Implements `core.backends.runner.TargetForward` in float32 on the CPU."""

    name = "native"

    def __init__(
        self,
        shape: Architecture,
        stack: LayerStack,
        rotary: RotaryTable,
        kernels: Kernels,
        made: "WeakKeyDictionary[Any, CpuLinear] | None" = None,
        state_norm: torch.Tensor | None = None,  # [hidden]
        *,
        rounds_weights: bool = False,
    ):
        """`made` holds the kernels' copies of dense layers, shared between forwards that round their
        weights to 8 bits or not.

        With `state_norm` it is an EAGLE-3 head's, and `from_states` computes it.
        """
        super().__init__(shape, stack, rotary)
        self.kernels = kernels
        self.made = WeakKeyDictionary() if made is None else made
        self._state_norm = state_norm
        self._make = cpu_bytes if rounds_weights else cpu_dense
        self._last_layer = torch.tensor([shape.num_layers], dtype=torch.int32)
        self._model: ModelStruct | None = None
        self._model_of: LayerStack | None = None
        self._last_cache_index = 0
        self._views: list[tuple[int | None, int | None]] = []
        # The structures point into these.
        self._kept: list[Any] = []
        self._work = torch.empty(0)

    def with_stack(self, stack: LayerStack) -> "CpuForward":
        """See `TorchForward.with_stack`."""
        return CpuForward(self.shape, stack, self.rotary, self.kernels, self.made)

    def with_exact_sums(self) -> "CpuForward":
        """See `TorchForward.with_exact_sums`; the kernels' sums are so anyway."""
        return self

    def use(self, stack: LayerStack) -> None:
        """See `TorchForward.use`."""
        super().use(stack)
        self._model = self._model_of = None
        self._kept = []

    @property
    def kernel_names(self) -> list[str]:
        """See `TorchForward.kernel_names`."""
        products = [self._product(linear) for linear in self.stack.linears()]
        known = [product for product in products if product is not None]
        if len(known) < len(products):
            return super().kernel_names
        return sorted({product.kernel for product in known})

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`."""
        model = self._model_struct()
        if model is None:
            return super().__call__(blocks, want_logits=want_logits)
        structs = [self._block_struct(block) for block in blocks]
        for struct, block in zip(structs, blocks, strict=True):
            states = block.cache.hidden_states
            if states is not None:
                check_floats(states.rows, (block.cache.capacity, len(states.layers) * model.hidden))
                struct.hidden_states = states.rows[block.cache.write_start].data_ptr()
                struct.state_layers = states.layer_ids.data_ptr()
                struct.num_states = len(states.layers)
        return self._run(model, blocks, structs, want_logits)

    def from_states(
        self,
        blocks: Sequence[RowBlock],
        *,
        given: torch.Tensor,  # [rows, hidden]
        made: torch.Tensor,  # [rows, hidden]
        want_logits: bool,
    ) -> torch.Tensor | None:
        """An EAGLE-3 head over tokens beside given states; writes what it makes of them."""
        model = self._model_struct()
        assert model is not None, "cpu_reason comes first"
        for states in (given, made):
            check_floats(states, (num_rows(blocks), model.hidden))
        structs = [self._block_struct(block) for block in blocks]
        for struct, rows in zip(structs, row_slices(blocks), strict=True):
            struct.given = given[rows].data_ptr()
            struct.hidden_states = made[rows].data_ptr()
            struct.state_layers = self._last_layer.data_ptr()
            struct.num_states = 1
        return self._run(model, blocks, structs, want_logits)

    def _run(
        self,
        model: ModelStruct,
        blocks: Sequence[RowBlock],
        structs: Sequence[BlockStruct],
        want_logits: bool,
    ) -> torch.Tensor | None:
        rows, capacity = num_rows(blocks), max(block.cache.capacity for block in blocks)
        num_facts = min(NOTED_FACTS, self.shape.vocab_size) if want_logits else 0
        room = FactsRoom(rows, num_facts)
        work_floats = self.kernels.work_floats(model, rows, capacity, num_facts)
        if self._work.shape[0] < work_floats:
            self._work = torch.empty(work_floats)
        token_ids, positions = joined_token_ids(blocks), joined_positions(blocks)
        check_indices(token_ids, rows)
        check_indices(positions, rows)
        for table in (self.rotary.cos, self.rotary.sin):
            check_floats(table, (*self.rotary.cos.shape[:2], 1, self.shape.head_dim))
        logits = torch.empty(rows, self.shape.vocab_size) if want_logits else None
        self.kernels.forward(
            model,
            RowsStruct(
                count=rows,
                token_ids=token_ids.data_ptr(),
                positions=positions.data_ptr(),
                cos=self.rotary.cos.data_ptr(),
                sin=self.rotary.sin.data_ptr(),
                num_positions=self.rotary.cos.shape[1],
                capacity=capacity,
                num_blocks=len(structs),
                blocks=(BlockStruct * len(structs))(*structs),
                work=self._work.data_ptr(),
                work_floats=len(self._work),
                logits=None if logits is None else logits.data_ptr(),
                facts=room.struct,
            ),
        )
        if logits is not None:
            note_facts(logits, room.facts())
        return logits

    def _block_struct(self, block: RowBlock) -> BlockStruct:
        cache, mask, shape = block.cache, block.mask, self.shape
        sizes = (2, 1, shape.num_kv_heads, cache.capacity, shape.head_dim)
        check_floats(cache.storage, (len(cache.storage), *sizes))
        if mask is not None:
            check_floats(mask, (block.num_rows, mask.shape[1]), is_part=True)
        if self._last_cache_index >= len(cache.storage):
            raise ValueError(f"the cache has {len(cache.storage)} layers, fewer than the kernels'")
        return BlockStruct(
            count=block.num_rows,
            cache=cache.storage.data_ptr(),
            capacity=cache.capacity,
            write_start=cache.write_start,
            num_columns=cache.write_start + block.num_rows if mask is None else mask.shape[1],
            length=cache.length,
            positions=self._positions(block),
            mask=None if mask is None else mask.data_ptr(),
            mask_stride=0 if mask is None else mask.stride(0),
        )

    def _positions(self, block: RowBlock) -> int | None:
        """Of the tokens in the cache's columns, where a layer does not see all of them."""
        if self._views == [(None, None)]:
            return None
        note_positions(block)
        positions = positions_of(block.cache)
        check_indices(positions, block.cache.capacity)
        return positions.data_ptr()

    def _model_struct(self) -> ModelStruct | None:
        """The present stack for the kernels; None where a layer is in no format of theirs."""
        if self._model_of is not self.stack:
            self._kept = []
            self._model = self._describe(self.stack)
            self._model_of = self.stack
        return self._model

    def _describe(self, stack: LayerStack) -> ModelStruct | None:
        self._views = list(
            dict.fromkeys((layer.kind.window, layer.kind.chunk) for layer in stack.layers)
        )
        layers = [self._layer(layer) for layer in stack.layers]
        known = [layer for layer in layers if layer is not None]
        head = self._struct(stack.head)
        embedding = self._struct(stack.embedding)
        if len(known) < len(layers) or head is None or embedding is None:
            return None
        check_sizes(self.shape, stack, self._state_norm)
        array = (LayerStruct * len(known))(*known)
        views = (ViewStruct * len(self._views))(
            *(ViewStruct(window or 0, chunk or 0) for window, chunk in self._views)
        )
        self._kept += [array, views]
        self._last_cache_index = max(layer.cache_index for layer in stack.layers)
        return ModelStruct(
            num_layers=len(known),
            num_heads=self.shape.num_heads,
            num_kv_heads=self.shape.num_kv_heads,
            head_dim=self.shape.head_dim,
            hidden=embedding.in_features,
            intermediate=known[0].down.in_features,
            norm_eps=self.shape.norm_eps,
            activation=_ACTIVATIONS.index(self.shape.activation),
            is_gated=self.shape.is_gated,
            is_parallel=self.shape.is_parallel,
            is_layer_norm=stack.final_norm.dim() == 2,
            norms_all_heads=_norms_all_heads(stack, self.shape),
            attention_scale=self.shape.scale,
            attention_cap=self.shape.attention_cap or 0.0,
            embedding_scale=self.shape.embedding_scale,
            residual_scale=self.shape.residual_scale,
            logit_scale=self.shape.logit_scale,
            logit_cap=self.shape.logit_cap or 0.0,
            num_views=len(views),
            views=views,
            layers=array,
            embedding=embedding,
            head=head,
            final_norm=self._pointer(stack.final_norm),
            state_norm=self._pointer(self._state_norm),
        )

    def _layer(self, layer: LayerWeights) -> LayerStruct | None:
        parts = {name: self._struct(getattr(layer, name)) for name in _PARTS}
        if None in parts.values():
            return None
        vectors = {name: self._pointer(vector) for name, vector in layer.vectors().items()}
        return LayerStruct(
            cache_index=layer.cache_index,
            rotation=layer.kind.rotation,
            view=self._views.index((layer.kind.window, layer.kind.chunk)),
            **parts,
            **vectors,
        )

    def _struct(self, linear: Any) -> LinearStruct | None:
        product = self._product(linear)
        if product is None:
            return None
        self._kept.append(product)
        return product.struct

    def _product(self, linear: Linear) -> CpuLinear | None:
        if isinstance(linear, CpuLinear):
            return linear
        if not isinstance(linear, DenseLinear) or not _fits(linear):
            return None
        if linear not in self.made:
            self.made[linear] = self._make(self.kernels, linear.weight, linear.bias)
        return self.made[linear]

    def _pointer(self, tensor: torch.Tensor | None) -> int | None:
        if tensor is None:
            return None
        kept = tensor.float().contiguous()
        self._kept.append(kept)
        return kept.data_ptr()


_PARTS = ("qkv", "o", "gate_up", "down")
# As `activations.h` numbers them.
_ACTIVATIONS = ("silu", "gelu_tanh", "gelu", "relu", "relu2")


def _norms_all_heads(stack: LayerStack, shape: Architecture) -> bool:
    norm = stack.layers[0].q_norm
    return norm is not None and norm.shape[-1] != shape.head_dim


def _fits(linear: DenseLinear) -> bool:
    return linear.weight.dtype == torch.float32 and can_read_dense(linear.weight)


def cpu_reason(forward: TorchForward) -> str | None:
    """Why the kernels cannot compute a forward's model; None where they can."""
    stack, shape = forward.stack, forward.shape
    if shape.experts is not None or shape.activation not in _ACTIVATIONS:
        return "they compute no experts"
    for kind in {layer.kind for layer in stack.layers}:
        if kind.norms_rotated or kind.temperature is not None:
            return "its queries are scaled behind their rotation"
    if stack.final_norm.dtype != torch.float32 or stack.final_norm.device.type != "cpu":
        return "they compute float32 on the CPU alone"
    if shape.head_dim % _HEAD_DIM_STEP or shape.head_dim > _LARGEST_HEAD_DIM:
        return f"its heads have {shape.head_dim} numbers"
    for linear in stack.linears():
        fits = isinstance(linear, CpuLinear) or (isinstance(linear, DenseLinear) and _fits(linear))
        if not fits:
            return "a layer's width is no multiple of 32"
    return None
