"""What products cost in our own kernels for CUDA, against the bandwidth of a copy.

Each product is computed over as many weights, one after the other in a captured graph, as have no room
in the device's caches.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from core.backends.cuda.kernels.kernel import Following, multiply_rows, reason_against
from core.backends.cuda.kernels.packing import packed
from core.backends.cuda.kernels.variant import DENSE_BITS, Weight
from core.backends.torch.linear import WeightGrid
from core.benchmark.gpu_tables import copy_bandwidth
from core.benchmark.wide_shapes import SHAPES, Width
from core.errors import InvalidSettingError

_VOCAB = 32000
_FORMATS = ((16, 128), (8, 64), (4, 32), (4, 64), (4, 128), (3, 64), (2, 64))
_ROWS = (1, 8)
# Several times the largest cache.
_LEAST_BYTES, _LEAST_WEIGHTS, _LEAST_STARTS = 300e6, 2, 24
_REPEATS = 15


def kernel_rows() -> list[dict[str, Any]]:
    """A row for each product of each shape, format and number of rows, in bfloat16.

    Raises InvalidSettingError where the GPU cannot run the kernels.
    """
    reason = reason_against(torch.device("cuda", torch.cuda.current_device()))
    if reason is not None:
        raise InvalidSettingError(f"{reason}; leave the table kernels out.")
    torch.manual_seed(0)
    bandwidth = copy_bandwidth()
    rows = [{"what": "copy", "TB_s": round(bandwidth / 1e12, 3)}]
    for shape, wide in SHAPES.items():
        for bits, group_size in _FORMATS:
            for part, (outputs, inputs) in _parts(wide.target).items():
                weights = _weights(bits, group_size, outputs, inputs)
                for count in _ROWS:
                    row = _row(weights, count, part == "gate_up", bandwidth)
                    what = {"shape": shape, "part": part, "bits": bits, "rows": count}
                    rows.append({**what, "group_size": group_size, **row})
    return rows


def _parts(width: Width) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of every product of a layer, and of the head."""
    hidden, heads = width.hidden, width.num_heads * width.head_dim
    return {
        "qkv": (3 * heads, hidden),
        "o": (hidden, heads),
        "gate_up": (2 * width.intermediate, hidden),
        "down": (hidden, width.intermediate),
        "head": (_VOCAB, hidden),
    }


def _weights(bits: int, group_size: int, outputs: int, inputs: int) -> list[Weight]:
    """As many as no cache holds, all of the same random numbers."""
    data = _data(bits, group_size, outputs, inputs)
    count = max(_LEAST_WEIGHTS, int(_LEAST_BYTES // data.nbytes) + 1)
    return [Weight(data.clone(), bits, group_size, inputs, outputs) for _ in range(count)]


def _data(bits: int, group_size: int, outputs: int, inputs: int) -> torch.Tensor:
    if bits == DENSE_BITS:
        return torch.randn(outputs, inputs, dtype=torch.bfloat16, device="cuda")
    values = torch.randint(0, 2**bits, (outputs, inputs), dtype=torch.uint8, device="cuda")
    scales = torch.rand(outputs, inputs // group_size, device="cuda") + 0.5
    return packed(WeightGrid(values, scales, -scales * 2 ** (bits - 1), bits))


def _row(weights: list[Weight], count: int, is_gated: bool, bandwidth: float) -> dict[str, Any]:
    x = torch.randn(count, weights[0].num_inputs, dtype=torch.bfloat16, device="cuda")

    def product(index: int) -> None:
        following = Following(weights[(index + 1) % len(weights)], is_gated)
        multiply_rows(x, weights[index], gate="silu" if is_gated else None, following=following)

    seconds = _seconds(product, len(weights))
    rate = weights[0].data.nbytes / seconds
    row = {
        "us": round(seconds * 1e6, 2),
        "TB_s": round(rate / 1e12, 3),
        "of_copy": round(rate / bandwidth, 3),
    }
    if weights[0].bits == DENSE_BITS:
        library = _seconds(lambda index: _discard(F.linear(x, weights[index].data)), len(weights))
        row["library_us"] = round(library * 1e6, 2)
    return row


def _discard(_: torch.Tensor) -> None: ...


def _seconds(product: Callable[[int], None], num_weights: int) -> float:
    """Median time of one product."""
    rounds = -(-_LEAST_STARTS // num_weights)
    for index in range(num_weights):
        product(index)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for index in range(rounds * num_weights):
            product(index % num_weights)
    found: list[float] = []
    for _ in range(_REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) * 1e-3 / (rounds * num_weights))
    return sorted(found)[_REPEATS // 2]
