"""The program's KV cache under transformers' Cache interface, for models that its modules compute."""

import copy
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import (
    DYNAMIC_LAYER_TYPE_MAPPING,
    Cache,
    CacheLayerMixin,
    LinearAttentionLayer,
    get_layer_types_and_kwargs,
)

from core.backends.layer_cache import LayerCache
from core.backends.windows import first_seen

# Kinds of layers, as transformers' caches name them. For those of attention the mask decides what is
# seen of the columns that they read; the others keep nothing, or nothing that branches could share.
_CHUNK = "chunked_attention"
_ATTENTION = ("full_attention", "sliding_attention", _CHUNK)
_NOTHING = "dummy"
_HYBRID = ("hybrid", "hybrid_sliding")


def has_columns(config: PreTrainedConfig) -> bool:
    """Whether all that the layers of a model keep lies in columns, a token each, which branches can
    share."""
    kinds, _ = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    return set(kinds) <= {*_ATTENTION, _NOTHING}


class TransformersCache(Cache):
    """A view of a LayerCache; beside it only what layers keep that has no columns.

    Copies share the columns and have a state of their own.
    """

    def __init__(self, cache: LayerCache, config: PreTrainedConfig):
        kinds = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
        super().__init__(
            layers=[
                _layer(cache, index, kind, how)
                for index, (kind, how) in enumerate(zip(*kinds, strict=True))
            ]
        )


def _layer(cache: LayerCache, index: int, kind: str, how: dict[str, Any]) -> Any:
    if kind in _ATTENTION:
        return _Layer(cache, index, kind, how.get("sliding_window"))
    if kind in _HYBRID:
        return _HybridLayer(cache, index, kind, how.get("sliding_window"), how["number_of_states"])
    return DYNAMIC_LAYER_TYPE_MAPPING[kind](**how)


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One attention layer's view of a LayerCache."""

    def __init__(self, cache: LayerCache, index: int, kind: str, size: int | None):
        """`size` is that of the window or the chunks of a layer that does not see all."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache
        self._index = index
        self.is_sliding = size is not None
        self._window = None if kind == _CHUNK else size
        self._chunk = size if kind == _CHUNK else None

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Takes the layer's rooms, like its keys and values."""
        self.keys, self.values = self._cache.rooms(self._index, key_states, value_states)
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,  # [1, num_kv_heads, rows, width]
        value_states: torch.Tensor,  # [1, num_value_heads, rows, value_width]
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes rows at the cache's write position; returns all that any of them may attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        start = self._cache.write_start
        end = start + key_states.shape[2]
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        first = self._first()
        return self.keys[:, :, first:end], self.values[:, :, first:end]

    def _first(self) -> int:
        """The first column that is read: what stands in front of a window costs nothing."""
        if not self.is_sliding:
            return 0
        cache = self._cache
        return first_seen(cache.lowest, cache.length, self._window, self._chunk)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        first = self._first()
        return self._cache.write_start + query_length - first, first

    def get_seq_length(self) -> int:
        return self._cache.write_start

    def get_max_length(self) -> int:
        return self._cache.capacity


class _HybridLayer(LinearAttentionLayer, _Layer):  # type: ignore[no-untyped-call, override]
    """A layer with attention and a state side by side."""

    def __init__(
        self, cache: LayerCache, index: int, kind: str, size: int | None, number_of_states: int
    ):
        _Layer.__init__(self, cache, index, kind, size)
        LinearAttentionLayer.__init__(self, number_of_states)

    def __deepcopy__(self, memo: Any) -> Any:
        copied = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict):  # by the number of the state
                setattr(copied, name, copy.deepcopy(value, memo))
        return copied

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Of keys and values, which are given by place, or of a state."""
        (_Layer if args else LinearAttentionLayer).lazy_initialization(self, *args, **kwargs)
