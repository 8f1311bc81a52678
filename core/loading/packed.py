"""The target's layers in 4 or 8 bits: a GGUF file's own numbers, or hqq's for other sources."""

from core.backends.cpu.library import Kernels
from core.backends.torch.weights import LayerStack
from core.families.description import Description
from core.loading.gguf_weights import gguf_stack
from core.loading.weight_loading import Placement
from core.models.sources import ModelSource
from core.quant.stack import quantized_stack
from core.quant.store import GridStore
from core.runtime.storage import Progress, cache_home, weights_sha256

_BITS = {"q4": 4, "q8": 8}
_GROUP_SIZE = 32


def packed_stack(
    source: ModelSource,
    described: Description,
    original: LayerStack | None,
    weights: str,
    place: Placement,
    progress: Progress,
) -> LayerStack:
    """The layers that stand in for the original ones, which only sources without a GGUF need.

    Raises InvalidSettingError for a GGUF file whose layers are of other types.
    """
    if source.gguf is not None:
        return gguf_stack(
            source.gguf, weights, described.architecture, place.dtype, place.kernels, progress
        )
    assert original is not None, "there is no GGUF"
    return _quantized(source, original, weights, place.kernels, progress)


def _quantized(
    source: ModelSource,
    original: LayerStack,
    weights: str,
    kernels: Kernels | None,
    progress: Progress,
) -> LayerStack:
    """hqq grids of all linear layers; the embedding stays as it is."""
    bits = _BITS[weights]
    store = GridStore(cache_home() / "grids", weights_sha256(source.folder), bits, _GROUP_SIZE)
    stack = quantized_stack(
        original,
        bits=bits,
        group_size=_GROUP_SIZE,
        grid_of=store.grid_of,
        progress=progress,
        kernels=kernels,
    )
    store.save()
    return stack
