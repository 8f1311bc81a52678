"""Linear layers over whole numbers in gemlite's Triton kernels, for CUDA."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from core.errors import KernelsUnavailableError
from core.lean.linear import WeightGrid

# gemlite packs these; three-bit numbers travel in four bits.
_PACKED_BITS = {2: 2, 3: 4, 4: 4, 8: 8}


@cache
def _product(meta: tuple[int, ...]) -> Callable[..., torch.Tensor]:
    """gemlite's registered operator for one format, which a compiled graph may hold."""
    from gemlite import forward_functional

    arguments = list(meta)

    def product(
        x: torch.Tensor,
        bias: torch.Tensor | None,
        values: torch.Tensor,
        scales: torch.Tensor,
        zeros: torch.Tensor,
        meta_scale: torch.Tensor,
    ) -> torch.Tensor:
        tensors = [values, scales, zeros, meta_scale]
        return forward_functional(x, bias, tensors, arguments)  # type: ignore[no-any-return]

    return product


class GemliteLinear:
    """Implements `core.lean.linear.TensorLinear`."""

    def __init__(self, grid: WeightGrid, bias: torch.Tensor | None, dtype: torch.dtype):
        """Raises KernelsUnavailableError where gemlite is missing or has no kernel for the grid."""
        self.out_features, self.in_features = grid.values.shape
        layer = _packed(grid, dtype)
        self.kernel = f"gemlite int{_PACKED_BITS[grid.bits]}"
        self.product = _product(tuple(layer.get_meta_args()))
        packed = tuple(tensor.detach() for tensor in layer.get_tensor_args())
        self.tensors: tuple[torch.Tensor | None, ...] = (bias, *packed)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors if tensor is not None)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(x, *self.tensors)


def _packed(grid: WeightGrid, dtype: torch.dtype) -> Any:
    try:
        from gemlite.helper import A16Wn
    except ImportError as error:
        raise KernelsUnavailableError(
            "gemlite is not installed, so quantized layers are written out again; install "
            "requirements-cuda.txt."
        ) from error
    values = grid.values
    try:
        return A16Wn(device=str(values.device), dtype=dtype).from_weights(
            values.contiguous(),
            grid.scales.to(dtype),
            (-grid.offsets / grid.scales).to(dtype),
            W_nbits=_PACKED_BITS[grid.bits],
            group_size=grid.group_size,
        )
    except (NotImplementedError, AssertionError, KeyError) as error:
        shape = tuple(values.shape)
        raise KernelsUnavailableError(f"gemlite has no kernel for {shape} ({error}).") from error
