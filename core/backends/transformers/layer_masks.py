"""Attention masks of models whose layers do not all see the whole text: windows and chunks.

transformers builds these masks itself only where it makes the whole mask. A mask that is given is
taken as it is, so that what a layer's kind hides must be in it already, of the columns that such a layer
is given (`core.backends.transformers.cache`).
"""

from typing import Any

import torch

from core.backends.row_block import RowBlock
from core.backends.windows import note_positions, view_of

_WINDOW, _CHUNK = "sliding_attention", "chunked_attention"
# The kinds of layers, as transformers names them, that read nothing but a mask and the cache.
KINDS = ("full_attention", _WINDOW, _CHUNK)


class LayerMasks:
    """What the kinds of a model's layers hide beside what a block's mask hides."""

    def __init__(self, config: Any):
        """`config` is that of transformers; kinds are named as in its `layer_types`."""
        text = config.get_text_config()
        sizes = {
            _WINDOW: getattr(text, "sliding_window", None),
            _CHUNK: getattr(text, "attention_chunk_size", None),
        }
        kinds = getattr(text, "layer_types", None)
        if kinds is None:  # one kind, by the setting that is there
            kinds = [kind for kind, size in sizes.items() if size is not None][:1]
        self._kinds = sorted(set(kinds))
        self._sizes = {kind: sizes[kind] for kind in self._kinds if sizes.get(kind) is not None}

    @property
    def is_plain(self) -> bool:
        """Whether every layer sees the whole text."""
        return not self._sizes

    def of(self, block: RowBlock) -> torch.Tensor | dict[str, torch.Tensor] | None:
        """The mask of a block, or one for each kind of layer where there are several
        # [1, 1, rows, columns that such a layer reads]

        None stays None: for a row that sees everything, transformers makes the mask.
        """
        if not self.is_plain:
            note_positions(block)
        if block.mask is None:
            return None
        masks = {kind: self._narrowed(block, block.mask, kind) for kind in self._kinds}
        if len(masks) > 1:
            return masks
        return next(iter(masks.values()), block.mask[None, None])

    def _narrowed(
        self,
        block: RowBlock,
        mask: torch.Tensor,  # [rows, columns] additive
        kind: str,
    ) -> torch.Tensor:
        size = self._sizes.get(kind)
        if size is None:
            return mask[None, None]
        window, chunk = (size, None) if kind == _WINDOW else (None, size)
        found = view_of(block, window, chunk).mask
        assert found is not None, "the block has a mask"
        return found[None, None]
