"""A process of a split target that is not the first: computes its part of what it is told."""

from typing import Any

import torch

from core.backends.layer_cache import LayerCache
from core.backends.row_block import RowBlock
from core.backends.runner import compute_at_once
from core.backends.transformers.forward import TransformersForward
from core.distributed.orders import Channel, Order
from core.distributed.role import num_ranks
from core.distributed.split_module import open_channel, read_split_module


def obey_all(device: str) -> int:
    """Obeys the first process until it ends; returns an exit status."""
    follower = _Follower(open_channel(device))
    while follower.obey():
        pass
    return 0


class _Follower:
    def __init__(self, channel: Channel):
        self._channel = channel
        self._forward: TransformersForward | None = None
        self._module: Any = None
        self._caches: dict[int, LayerCache] = {}

    def obey(self) -> bool:
        """Does the next order; False after the last one."""
        order, numbers = self._channel.receive()
        match order:
            case Order.LOAD:
                self._load()
            case Order.FORWARD:
                self._compute(*numbers[:6])
            case Order.KEEP:
                number, length, num_rows = numbers[:3]
                rows = self._channel.share(torch.empty(num_rows, dtype=torch.int64))
                self._caches[number].truncate(length)
                self._caches[number].keep(rows.tolist())
            case Order.DROP:
                self._caches.pop(numbers[0], None)
        return order != Order.END

    def _load(self) -> None:
        source, dtype = self._channel.share_objects(None, None)
        self._forward = self._module = None  # the old part goes before the new one comes
        self._caches.clear()
        text = ""
        try:
            self._module = read_split_module(source, dtype, num_ranks())
            self._forward = TransformersForward(self._module)
        except Exception as error:  # the first process tells it
            text = str(error) or type(error).__name__
        self._channel.gather(text)

    def _compute(
        self, number: int, capacity: int, write_start: int, num_rows: int, columns: int, wants: int
    ) -> None:
        channel, module = self._channel, self._module
        token_ids, positions = channel.share(torch.empty((2, num_rows), dtype=torch.int64))
        mask = None
        if columns:
            hidden = channel.share(torch.empty((num_rows, columns), dtype=torch.uint8))
            mask = torch.zeros(hidden.shape, dtype=module.dtype, device=module.device)
            mask.masked_fill_(hidden.bool().to(module.device), torch.finfo(module.dtype).min)
        cache = self._cache(number, capacity)
        cache.write_start = write_start
        block = RowBlock(token_ids.to(module.device), positions.to(module.device), cache, mask)
        assert self._forward is not None, "LOAD comes first"
        compute_at_once(self._forward, block, want_logits=bool(wants))

    def _cache(self, number: int, capacity: int) -> LayerCache:
        if number not in self._caches:
            self._caches[number] = LayerCache(capacity)
        return self._caches[number]
