"""A model as transformers' own module computes it, for architectures that our own forward lacks."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock, joined
from core.backends.transformers.layer_masks import LayerMasks
from core.errors import ModelUnavailableError
from core.families.architecture import Architecture


class TransformersForward:
    """Implements `core.backends.runner.TargetForward` by calling the module."""

    name = "transformers"

    def __init__(self, module: Any):
        self._module = module
        self._masks = LayerMasks(module.config)
        self._cache: Any = None

    @property
    def num_token_ids(self) -> int:
        """See `TargetForward.num_token_ids`."""
        return int(self._module.get_input_embeddings().num_embeddings)

    @property
    def pack_key(self) -> Hashable:
        """See `TargetForward.pack_key`."""
        return id(self._module)

    def reserve(self, num_positions: int) -> None:
        """See `TargetForward.reserve`; nothing is needed."""

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`; the blocks are computed one after the other."""
        pieces = [self._block(block, want_logits) for block in blocks]
        return joined([piece for piece in pieces if piece is not None]) if want_logits else None

    def _block(self, block: RowBlock, want_logits: bool) -> torch.Tensor | None:
        """Logits, or None where none are wanted  # [rows, vocab]."""
        run = self._module if want_logits else self._module.base_model
        cache = self._view(block.cache)
        output = run(
            input_ids=block.token_ids[None],
            attention_mask=self._masks.of(block),
            position_ids=block.positions[None],
            cache=cache,
            use_cache=True,
        )
        # Other versions take a cache by another name and go on with one of their own.
        if not cache.layers[0].is_initialized:
            import transformers

            raise ModelUnavailableError(
                f"transformers {transformers.__version__} did not use the cache it was given; install "
                "the version that requirements.txt names."
            )
        return output.logits[0] if want_logits else None

    def _view(self, cache: TreeCache) -> Any:
        """The cache as transformers reads it; the last one's is kept."""
        if self._cache is None or self._cache.tree_cache is not cache:
            from core.backends.transformers.cache import TransformersCache

            num_layers = self._module.config.get_text_config().num_hidden_layers
            self._cache = TransformersCache(cache, num_layers)
        return self._cache


def transformers_shape(module: Any) -> Architecture:
    """Sizes of the whole model."""
    config = module.config.get_text_config()
    num_heads = config.num_attention_heads
    return Architecture(
        num_layers=config.num_hidden_layers,
        num_heads=num_heads,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
        vocab_size=config.vocab_size,
        norm_eps=0.0,
    )
