"""A target whose layers are spread over the GPUs of one process, one after the other, by accelerate.

For a target that one GPU cannot hold and that needs not be faster: the GPUs take turns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from core.backends.kv_cache import TreeCache
from core.backends.runner import ModelRunner
from core.errors import InvalidSettingError
from core.models.sources import ModelSource
from core.models.transformers_loading import read_weights


def check_spread() -> None:
    """Raises InvalidSettingError where there are not several GPUs."""
    count = torch.cuda.device_count()
    if count < 2:
        raise InvalidSettingError(
            f"spread shares the layers among GPUs and this machine has {count}; leave it out."
        )


def read_spread_module(
    source: ModelSource,
    dtype: torch.dtype,
    device_map: str | dict[str, Any] = "auto",
    disk: Path | None = None,
) -> Any:
    """The module with accelerate's hooks, which carry what passes between layers.

    `disk` takes the layers that a map puts there. Raises ModelUnavailableError.
    """
    return read_weights(source, dtype=dtype, device_map=device_map, offload_folder=disk)


class SpreadCache(TreeCache):
    """A cache whose layers are where their weights compute."""

    def __init__(
        self,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype,
    ):
        self.capacity = capacity
        self.truncate(0)
        self._dtype = dtype
        self._shape = (2, 1, num_kv_heads, capacity, head_dim)
        self._layers: list[torch.Tensor | None] = [None] * num_layers

    def storages(self) -> Sequence[torch.Tensor]:
        """See `TreeCache.storages`; those of layers that have computed."""
        return [storage for storage in self._layers if storage is not None]

    def layer(self, index: int, device: torch.device) -> torch.Tensor:
        """See `TreeCache.layer`; made on the first call."""
        storage = self._layers[index]
        if storage is None:
            storage = torch.zeros(self._shape, dtype=self._dtype, device=device)
            self._layers[index] = storage
        return storage


class SpreadRunner(ModelRunner):
    """A ModelRunner whose caches lie beside the layers."""

    def _new_cache(self, capacity: int) -> TreeCache:
        shape = self.shape
        return SpreadCache(
            shape.num_layers, shape.num_kv_heads, shape.head_dim, capacity, self.dtype
        )
