"""Room on the host for copies to and from a device that nobody waits for."""

from collections.abc import Sequence

import torch


def host_buffer(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros, pinned where the device copies by itself."""
    return torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")


def sent(numbers: Sequence[object], device: torch.device) -> torch.Tensor:
    """Whole numbers on their way to a device, behind all work that was given to it before."""
    tensor = torch.tensor(numbers, dtype=torch.int64)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class TwoHostBuffers:
    """Two of a kind in turn, for the copy of the last one may still be under way."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device):
        self._next, self._last = (host_buffer(shape, dtype, device) for _ in range(2))

    def next(self) -> torch.Tensor:
        """The one that was not given last."""
        self._next, self._last = self._last, self._next
        return self._last
