"""`rows.cu` as Python calls it: products, and the kernel's launch."""

import ctypes
from functools import cache
from typing import NamedTuple

import torch

from core.backends.cuda.kernels.build import built, compiler_version
from core.backends.cuda.kernels.launcher import Launcher
from core.backends.cuda.kernels.variant import (
    FLOAT_NORM,
    NO_NORM,
    OWN_NORM,
    Variant,
    Weight,
    device_of,
    most_rows,
    variant_for,
)
from core.backends.cuda.places import Places
from core.errors import KernelsUnavailableError

_SOURCES = ("device.cuh", "weights.cuh", "rows.cu")
# Matrix units for bfloat16, and copies past the registers.
_LEAST_ARCHITECTURE = 80
# What is brought into the L2 cache of the weights that follow.
_FOLLOWING_BYTES = 4 << 20
_COPY_BYTES = 16
_PLAIN, _ROTATED = 0, 1
GATE_ENDINGS = {"silu": 2, "gelu": 3, "gelu_tanh": 4, "relu": 5}
"""Activations of gates that the kernel has, by their names in `Architecture`."""


class Norm(NamedTuple):
    """An RMS norm of the rows."""

    weight: torch.Tensor  # [inputs] in the dtype of the rows, or in float32
    eps: float


class Residual(NamedTuple):
    """What a product is added to."""

    rows: torch.Tensor  # [rows, outputs]
    scale: float = 1.0
    """Of the product."""


class Addend(NamedTuple):
    """Rows that are normed for themselves and added to those of a product, before their own norm."""

    rows: torch.Tensor  # [rows, inputs]
    norm: Norm  # of the same eps
    scale: float
    totals: torch.Tensor  # [rows, inputs]
    """Where the rows are written with them."""


class Heads(NamedTuple):
    """Where outputs go that are heads of queries, keys and values; all tensors are contiguous."""

    places: Places
    num_heads: int


class Following(NamedTuple):
    """What the next product reads."""

    weight: Weight
    is_gated: bool = False


@cache
def reason_against(device: torch.device) -> str | None:
    """Why a device cannot run the kernel; None where it can."""
    if device.type != "cuda":
        return "the kernels are for CUDA"
    try:
        compiler_version()
    except KernelsUnavailableError as error:
        return str(error)
    index = torch.cuda.current_device() if device.index is None else device.index
    architecture = device_of(index).architecture
    if architecture < _LEAST_ARCHITECTURE:
        return f"the kernels need compute capability 8.0, and this GPU has {architecture / 10}"
    return None


def rows_at_once(weight: Weight, dtype: torch.dtype) -> int:
    """Rows that one start of the kernel computes; 0 where rows are too wide for the device."""
    return most_rows(weight, device_of(weight.data.device.index), dtype)


def multiply_rows(
    x: torch.Tensor,  # [rows, inputs]
    weight: Weight,
    *,
    norm: Norm | None = None,
    addend: Addend | None = None,
    residual: Residual | None = None,
    gate: str | None = None,
    heads: Heads | None = None,
    following: Following | None = None,
) -> torch.Tensor:
    """Rows times a weight, plus its bias, in float32 sums whose order does not depend on other rows.

    `addend` and `norm` come before it and `residual` is added. With a `gate`, a key of GATE_ENDINGS,
    it is gate(first half) * second half of the outputs. With `heads` the result are rotated queries;
    keys and values go into the cache. Weights that come after it may be named as `following`. Many
    rows are computed some at a time.
    Raises KernelsUnavailableError where rows are too wide for the device.
    Returns  # [rows, outputs, half of them, or num_heads * head_dim]
    """
    width = weight.num_outputs // 2 if gate else weight.num_outputs
    if heads is not None:
        width = heads.num_heads * heads.places.storage.shape[-1]
    out = x.new_empty((x.shape[0], width))
    if x.data_ptr() % _COPY_BYTES or x.stride(-1) != 1 or x.stride(0) * x.itemsize % _COPY_BYTES:
        x = x.clone(memory_format=torch.contiguous_format)
    most = rows_at_once(weight, x.dtype)
    if not most:
        raise KernelsUnavailableError(
            f"rows of {weight.num_inputs} numbers have no room in the GPU's shared memory."
        )
    ending = GATE_ENDINGS[gate] if gate else _PLAIN if heads is None else _ROTATED
    addend_norm = None if addend is None else addend.norm
    kinds = {"norm": _kind(norm, x.dtype), "added": _kind(addend_norm, x.dtype)}
    some_norm = norm or addend_norm
    device = device_of(x.device.index)
    for first in range(0, len(x), most):
        rows = x[first : first + most]
        variant = variant_for(weight, device, x.dtype, len(rows), **kinds, ending=ending)
        assert variant is not None, "so many rows have room"
        kernel = _kernel(x.device.index, variant)
        arguments = _Arguments(
            x=rows.data_ptr(),
            x_stride=rows.stride(0),
            weight=weight.data.data_ptr(),
            norm=None if norm is None else norm.weight.data_ptr(),
            norm_eps=0.0 if some_norm is None else some_norm.eps,
            bias=_pointer(weight.bias),
            residual=None if residual is None else _pointer(residual.rows, first),
            residual_scale=1.0 if residual is None else residual.scale,
            out=_pointer(out, first),
            num_rows=len(rows),
            num_inputs=weight.num_inputs,
            num_outputs=weight.num_outputs,
        )
        if addend is not None:
            arguments.set_addend(addend, first)
        if heads is not None:
            arguments.set_heads(heads, first)
        if following is not None:
            arguments.set_following(following, kernel.num_warps(weight))
        kernel.launch(arguments, weight)
    return out


def _kind(norm: Norm | None, dtype: torch.dtype) -> int:
    if norm is None:
        return NO_NORM
    return OWN_NORM if norm.weight.dtype == dtype else FLOAT_NORM


def _pointer(tensor: torch.Tensor | None, first: int = 0) -> int | None:
    """To a row of a tensor."""
    return None if tensor is None else tensor[first:].data_ptr()


class _Arguments(ctypes.Structure):
    """Of the kernel, in its order."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("x_stride", ctypes.c_int64),
        ("weight", ctypes.c_void_p),
        ("addend", ctypes.c_void_p),
        ("addend_norm", ctypes.c_void_p),
        ("addend_scale", ctypes.c_float),
        ("totals", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
        ("norm_eps", ctypes.c_float),
        ("bias", ctypes.c_void_p),
        ("residual", ctypes.c_void_p),
        ("residual_scale", ctypes.c_float),
        ("out", ctypes.c_void_p),
        ("num_rows", ctypes.c_int),
        ("num_inputs", ctypes.c_int),
        ("num_outputs", ctypes.c_int),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("cache", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
        ("num_heads", ctypes.c_int),
        ("num_kv_heads", ctypes.c_int),
        ("head_dim", ctypes.c_int),
        ("following", ctypes.c_void_p),
        ("following_distance", ctypes.c_int64),
        ("following_bytes", ctypes.c_int),
    )

    def set_addend(self, addend: Addend, first: int) -> None:
        """For the rows from the first on."""
        self.addend, self.totals = _pointer(addend.rows, first), _pointer(addend.totals, first)
        self.addend_norm, self.addend_scale = _pointer(addend.norm.weight), addend.scale

    def set_heads(self, heads: Heads, first: int) -> None:
        """For the rows from the first on."""
        places = heads.places
        self.cos, self.sin = _pointer(places.cos, first), _pointer(places.sin, first)
        self.slots, self.cache = _pointer(places.slots, first), _pointer(places.storage)
        _, self.num_kv_heads, self.capacity, self.head_dim = places.storage.shape
        self.num_heads = heads.num_heads

    def set_following(self, following: Following, num_warps: int) -> None:
        """Each warp fetches a share, of gated weights one of gates and one of what they gate."""
        data, parts = following.weight.data, 2 if following.is_gated else 1
        share = min(_FOLLOWING_BYTES, data.nbytes) // (num_warps * parts)
        self.following = _pointer(data)
        self.following_bytes = share // _COPY_BYTES * _COPY_BYTES
        self.following_distance = data.nbytes // parts // _COPY_BYTES * _COPY_BYTES
        if parts == 1:
            self.following_distance = 0


class _Kernel:
    """One variant in the memory of one device."""

    def __init__(self, device_index: int, variant: Variant):
        device = device_of(device_index)
        self._variant = variant
        self._num_processors = device.num_processors
        code = built(_SOURCES, device.architecture, variant.values())
        self._launcher = Launcher(
            device_index, code, "multiply_rows", variant.warps * 32, device.shared_bytes
        )

    def num_warps(self, weight: Weight) -> int:
        """Of all blocks of threads."""
        return self._num_blocks(weight) * self._variant.warps

    def _num_blocks(self, weight: Weight) -> int:
        """At most one a multiprocessor, each for some tiles."""
        return min(weight.num_tiles, self._num_processors)

    def launch(self, arguments: _Arguments, weight: Weight) -> None:
        """Starts it on the current stream."""
        shared_bytes = self._variant.shared_bytes(weight.num_inputs)
        self._launcher.launch(self._num_blocks(weight), arguments, shared_bytes)


@cache
def _kernel(device_index: int, variant: Variant) -> _Kernel:
    return _Kernel(device_index, variant)
