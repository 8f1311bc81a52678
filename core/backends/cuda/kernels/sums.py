"""`sums.cu` as Python calls it: what several GPUs of one process hold is added up on each of them."""

import ctypes
from collections.abc import Sequence

import torch

from core.backends.cuda.kernels.build import built
from core.backends.cuda.kernels.launcher import Launcher
from core.backends.cuda.kernels.variant import DTYPES, device_of

_SOURCES = ("device.cuh", "sums.cu")
_THREADS, _WORD_BYTES = 256, 8


class SumsOnAll:
    """Adds up tensors of one shape, one on each of some GPUs, that reach each other's memory.

    All of them must be started before the host waits for any: a GPU waits for the parts of the others.
    """

    def __init__(self, devices: Sequence[torch.device], dtype: torch.dtype, most_bytes: int):
        """At most so many bytes, a row or more, are added up at once."""
        self._devices = devices
        self._dtype = dtype
        self._capacity = -(-most_bytes // _WORD_BYTES)
        count = len(devices)
        # Two halves, a part each, numbers and turns.
        inbox_bytes = 2 * count * self._capacity * 2 * _WORD_BYTES
        self._inboxes = [torch.zeros(inbox_bytes, dtype=torch.uint8, device=d) for d in devices]
        num_blocks = -(-self._capacity // _THREADS)
        self._turns = [torch.zeros(num_blocks, dtype=torch.int32, device=d) for d in devices]
        _let_reach(self._inboxes)
        values = {"DTYPE": DTYPES[dtype], "PARTS": count}
        self._kernels = [
            Launcher(
                d.index,
                built(_SOURCES, device_of(d.index).architecture, values),
                "add_parts",
                _THREADS,
            )
            for d in devices
        ]
        self._arguments = _arguments_for(count)

    def __call__(
        self,
        parts: Sequence[torch.Tensor],
        residuals: Sequence[torch.Tensor] | None = None,
        scale: float = 1.0,
    ) -> list[torch.Tensor]:
        """The sum of the parts, times the scale and with the residual where there is one, in float32 and
        then rounded; the same bits on each device  # as the parts, which are contiguous"""
        outs = [torch.empty_like(part) for part in parts]
        given = [parts, outs] if residuals is None else [parts, outs, residuals]
        size = parts[0][0].nbytes
        most = self._capacity * _WORD_BYTES // size
        for first in range(0, len(parts[0]), most):
            rows = slice(first, first + most)
            self._start(scale, *([tensor[rows] for tensor in each] for each in given))
        return outs

    def _start(
        self,
        scale: float,
        parts: Sequence[torch.Tensor],
        outs: Sequence[torch.Tensor],
        residuals: Sequence[torch.Tensor] | None = None,
    ) -> None:
        num_words = parts[0].nbytes // _WORD_BYTES
        pointers = [inbox.data_ptr() for inbox in self._inboxes]
        for own, (part, out, kernel) in enumerate(zip(parts, outs, self._kernels, strict=True)):
            residual = None if residuals is None else residuals[own].data_ptr()
            arguments = self._arguments(
                part=part.data_ptr(),
                residual=residual,
                scale=scale,
                out=out.data_ptr(),
                num_words=num_words,
                capacity=self._capacity,
                inboxes=(ctypes.c_void_p * len(pointers))(*pointers),
                own=own,
                turns=self._turns[own].data_ptr(),
            )
            with torch.cuda.device(part.device):
                kernel.launch(-(-num_words // _THREADS), arguments)


def _let_reach(tensors: Sequence[torch.Tensor]) -> None:
    """Has every GPU map the memory of the others, as torch does at a first copy."""
    for to in tensors:
        for source in tensors:
            if to is not source:
                to[:1].copy_(source[:1])
    for tensor in tensors:
        torch.cuda.synchronize(tensor.device)


def _arguments_for(count: int) -> type[ctypes.Structure]:
    class Arguments(ctypes.Structure):
        """Of the kernel, in its order."""

        _fields_ = (
            ("part", ctypes.c_void_p),
            ("residual", ctypes.c_void_p),
            ("scale", ctypes.c_float),
            ("out", ctypes.c_void_p),
            ("num_words", ctypes.c_int),
            ("capacity", ctypes.c_int64),
            ("inboxes", ctypes.c_void_p * count),
            ("own", ctypes.c_int),
            ("turns", ctypes.c_void_p),
        )

    return Arguments
