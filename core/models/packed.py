"""The target's layers in 4 or 8 bits: a GGUF file's own numbers, or hqq's for other sources."""

from typing import Any

import torch

from core.errors import InvalidSettingError
from core.lean.native.library import Kernels
from core.lean.weights import LayerStack, shape_of, stack_of, unsupported_reason
from core.models.gguf_weights import gguf_stack
from core.models.sources import ModelSource
from core.models.storage import Progress, cache_home
from core.quant.stack import quantized_stack
from core.quant.store import GridStore

_BITS = {"q4": 4, "q8": 8}
_GROUP_SIZE = 32


def packed_stack(
    source: ModelSource,
    module: Any,
    weights: str,
    dtype: torch.dtype,
    kernels: Kernels | None,
    progress: Progress,
) -> LayerStack:
    """The layers that stand in for the module's own, which are emptied.

    Raises InvalidSettingError for an architecture that the lean forward cannot compute and for a
    GGUF file whose layers are of other types.
    """
    reason = unsupported_reason(module)
    if reason is not None:
        raise InvalidSettingError(
            f"weights {weights} needs the lean forward, which cannot compute {source.name} "
            f"({reason}); leave weights out."
        )
    if source.gguf is not None:
        stack = gguf_stack(source.gguf, weights, shape_of(module), dtype, kernels, progress)
    else:
        stack = _quantized(source, module, weights, kernels, progress)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.new_empty(0)
    return stack


def _quantized(
    source: ModelSource, module: Any, weights: str, kernels: Kernels | None, progress: Progress
) -> LayerStack:
    """hqq grids of all linear layers; the embedding stays as it is."""
    bits = _BITS[weights]
    files = sorted(source.folder.glob("*.safetensors"))
    words = [f"{path.resolve()}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files]
    store = GridStore(cache_home() / "grids", "\n".join(words), bits, _GROUP_SIZE)
    stack = quantized_stack(
        stack_of(module),
        bits=bits,
        group_size=_GROUP_SIZE,
        grid_of=store.grid_of,
        progress=progress,
        kernels=kernels,
    )
    store.save()
    return stack
