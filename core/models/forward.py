"""Chooses what computes a model: the lean forward where it can, else transformers' module."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from core.kv_cache import TreeCache
from core.lean.forward import LeanForward, RotaryTable
from core.lean.native.forward import NativeForward, native_reason
from core.lean.native.library import Kernels
from core.lean.weights import (
    LayerStack,
    Rotation,
    Shape,
    rotation_of,
    shape_of,
    stack_of,
    unsupported_reason,
)
from core.models.loading import LoadedModel
from core.row_block import RowBlock
from core.verifier import TargetForward, Verifier


class TransformersForward:
    """Implements `core.verifier.TargetForward` by calling the module."""

    name = "transformers"

    def __init__(self, module: Any):
        self._module = module
        self._cache: Any = None

    @property
    def pack_key(self) -> Hashable:
        """See `TargetForward.pack_key`."""
        return id(self._module)

    def reserve(self, num_positions: int) -> None:
        """See `TargetForward.reserve`; nothing is needed."""

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`; the blocks are computed one after the other."""
        pieces = [self._block(block, want_logits) for block in blocks]
        if not want_logits:
            return None
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _block(self, block: RowBlock, want_logits: bool) -> torch.Tensor:
        """Logits, or the last hidden states where none are wanted  # [rows, vocab or hidden]."""
        run = self._module if want_logits else self._module.base_model
        output = run(
            input_ids=block.token_ids[None],
            attention_mask=None if block.mask is None else block.mask[None, None],
            position_ids=block.positions[None],
            past_key_values=self._view(block.cache),
            use_cache=True,
        )
        rows: torch.Tensor = output.logits if want_logits else output.last_hidden_state
        return rows[0]

    def _view(self, cache: TreeCache) -> Any:
        """The cache as transformers reads it; the last one's is kept."""
        if self._cache is None or self._cache.tree_cache is not cache:
            from core.models.transformers_cache import TransformersCache

            self._cache = TransformersCache(cache)
        return self._cache


def _transformers_shape(module: Any) -> Shape:
    config = module.config.get_text_config()
    num_heads = config.num_attention_heads
    return Shape(
        num_layers=config.num_hidden_layers,
        num_heads=num_heads,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
        vocab_size=config.vocab_size,
        norm_eps=0.0,
    )


def make_verifier(
    module: Any,
    context_limit: int,
    *,
    stack: LayerStack | None = None,
    kernels: Kernels | None = None,
) -> Verifier:
    """The backend of a transformers module, with a cache of its own.

    `stack` stands in for the module's own layers; `kernels` compute where they can.
    """
    forward: TargetForward
    if unsupported_reason(module) is None:
        shape = shape_of(module)
        forward = _lean_forward(
            shape, rotation_of(module), stack or stack_of(module), module.dtype, kernels
        )
    else:
        shape = _transformers_shape(module)
        forward = TransformersForward(module)
    return Verifier(forward, shape, context_limit, module.dtype, module.device)


def verifier_of(model: LoadedModel) -> Verifier:
    """The backend of a loaded model, with a cache of its own."""
    outline = model.outline
    if outline is None:
        return make_verifier(model.module, model.context_limit)
    assert model.stack is not None, "no engine has taken it"
    forward = _lean_forward(
        outline.shape, outline.rotation, model.stack, model.dtype, model.kernels
    )
    return Verifier(forward, outline.shape, model.context_limit, model.dtype, model.device)


def _lean_forward(
    shape: Shape,
    rotation: Rotation,
    stack: LayerStack,
    dtype: torch.dtype,
    kernels: Kernels | None,
) -> LeanForward:
    rotary = RotaryTable(rotation, dtype, stack.final_norm.device)
    lean = LeanForward(shape, stack, rotary)
    if kernels is None or native_reason(lean) is not None:
        return lean
    return NativeForward(shape, stack, rotary, kernels)
