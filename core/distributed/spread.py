"""A target whose layers are spread over the GPUs of one process, one after the other, by accelerate.

For a target that one GPU cannot hold and that needs not be faster: the GPUs take turns.
"""

from pathlib import Path
from typing import Any

import torch

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
