"""The first process of a split target: decides, and has the others compute their part."""

import itertools
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from core.backends.layer_cache import LayerCache
from core.backends.row_block import RowBlock
from core.backends.runner import ModelRunner
from core.backends.transformers.forward import TransformersForward
from core.distributed.orders import Channel, Order


class SplitCache(LayerCache):
    """This process's part of a cache whose other parts follow it."""

    _numbers = itertools.count(1)

    def __init__(self, channel: Channel, capacity: int):
        super().__init__(capacity)
        self.number = next(self._numbers)
        self._channel = channel
        weakref.finalize(self, channel.drop_later, self.number).atexit = False

    def keep(self, rows: Sequence[int]) -> None:
        """See `TreeCache.keep`; the same rows are kept everywhere."""
        self._channel.send(Order.KEEP, self.number, self.length, len(rows))
        self._channel.share(torch.tensor(list(rows), dtype=torch.int64))
        super().keep(rows)


class SplitForward(TransformersForward):
    """Implements `core.backends.runner.TargetForward` in all processes at once."""

    name = "transformers, split"

    def __init__(self, module: Any, channel: Channel):
        super().__init__(module)
        self.channel = channel

    def _block(self, block: RowBlock, want_logits: bool) -> torch.Tensor | None:
        cache, mask = block.cache, block.mask
        assert isinstance(cache, SplitCache), "SplitRunner made it"
        columns = 0 if mask is None else mask.shape[1]
        self.channel.send(
            Order.FORWARD, cache.number, cache.capacity, cache.write_start, block.num_rows, columns,
            int(want_logits),
        )  # fmt: skip
        self.channel.share(torch.stack([block.token_ids, block.positions]).cpu())
        if mask is not None:
            self.channel.share((mask != 0).to(torch.uint8).cpu())
        return super()._block(block, want_logits)


class SplitRunner(ModelRunner):
    """A ModelRunner whose caches have parts in all processes."""

    def _new_cache(self, capacity: int) -> SplitCache:
        assert isinstance(self.forward, SplitForward), "its caches are on the forward's channel"
        return SplitCache(self.forward.channel, capacity)
