"""The program's KV cache under transformers' Cache interface, for models that its modules compute."""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from core.backends.kv_cache import TreeCache


class TransformersCache(Cache):
    """A view of a TreeCache; it holds no keys or values of its own."""

    def __init__(self, cache: TreeCache, num_layers: int):
        super().__init__(layers=[_Layer(cache, index) for index in range(num_layers)])
        self.tree_cache = cache


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's view of a TreeCache."""

    is_sliding = False

    def __init__(self, cache: TreeCache, index: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache
        self._index = index

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Takes the layer's storage on the device where the layer computes."""
        # Shape of both: [1, num_kv_heads, capacity, head_dim]
        self.keys, self.values = self._cache.layer(self._index, key_states.device).unbind(0)
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,  # [1, num_kv_heads, rows, head_dim]
        value_states: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes rows at the cache's write position; returns all that can be attended to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        start = self._cache.write_start
        end = start + key_states.shape[2]
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.write_start + query_length, 0

    def get_seq_length(self) -> int:
        return self._cache.write_start

    def get_max_length(self) -> int:
        return self._cache.capacity
