"""The target's layers in 4 or 8 bits, by hqq, for sources that hold none themselves."""

from core.backends.cpu.library import Kernels
from core.backends.torch.weights import LayerStack
from core.models.sources import ModelSource
from core.quant.stack import quantized_stack
from core.quant.store import GridStore
from core.runtime.storage import Progress, cache_home, weights_sha256

QUANTIZED = {"q4": 4, "q8": 8}
"""Bits of the choices of weights that quantize."""
_GROUP_SIZE = 32


def packed_stack(
    source: ModelSource,
    original: LayerStack,
    weights: str,
    kernels: Kernels | None,
    progress: Progress,
) -> LayerStack:
    """hqq grids of all linear layers, which stand in for the original ones; the embedding stays as it
    is."""
    bits = QUANTIZED[weights]
    store = GridStore(
        cache_home() / "grids", source.sha256 or weights_sha256(source.folder), bits, _GROUP_SIZE
    )
    stack = quantized_stack(
        original,
        bits=bits,
        group_size=_GROUP_SIZE,
        grid_of=lambda name, weight, _: store.grid_of(name, weight),
        progress=progress,
        kernels=kernels,
    )
    store.save()
    return stack
