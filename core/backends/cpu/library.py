"""The compiled kernels as Python calls them; the structures mirror those of `model.h`.

Whatever they are given they read and write at once, so that every size is checked here or, where it
is one of many numbers, behind the call (`check.h`).
"""

import ctypes
from collections.abc import Sequence
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_float,
    c_int32,
    c_int64,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from core.backends.cpu.build import built_library
from core.backends.logits import LogitFacts
from core.runtime.storage import Progress


class SegmentStruct(Structure):
    _fields_ = (
        ("format", c_int32),
        ("group_shift", c_int32),
        ("first_output", c_int64),
        ("num_outputs", c_int64),
        ("values", c_void_p),
        ("scales", c_void_p),
    )


class LinearStruct(Structure):
    _fields_ = (
        ("out_features", c_int32),
        ("in_features", c_int32),
        ("num_segments", c_int32),
        ("rounds_rows", c_int32),
        ("segments", POINTER(SegmentStruct)),
        ("bias", c_void_p),
    )


class LayerStruct(Structure):
    _fields_ = (
        ("input_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("ffn_norm", c_void_p),
        ("attention_out_norm", c_void_p),
        ("ffn_out_norm", c_void_p),
        ("sinks", c_void_p),
        ("qkv", LinearStruct),
        ("o", LinearStruct),
        ("gate_up", LinearStruct),
        ("down", LinearStruct),
        ("cache_index", c_int64),
        ("rotation", c_int32),
        ("view", c_int32),
    )


class ViewStruct(Structure):
    _fields_ = (("window", c_int64), ("chunk", c_int64))


class ModelStruct(Structure):
    _fields_ = (
        ("num_layers", c_int32),
        ("num_heads", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("hidden", c_int32),
        ("intermediate", c_int32),
        ("norm_eps", c_float),
        ("activation", c_int32),
        ("is_gated", c_int32),
        ("is_parallel", c_int32),
        ("is_layer_norm", c_int32),
        ("norms_all_heads", c_int32),
        ("attention_scale", c_float),
        ("attention_cap", c_float),
        ("embedding_scale", c_float),
        ("residual_scale", c_float),
        ("logit_scale", c_float),
        ("logit_cap", c_float),
        ("num_views", c_int32),
        ("views", POINTER(ViewStruct)),
        ("layers", POINTER(LayerStruct)),
        ("embedding", LinearStruct),
        ("head", LinearStruct),
        ("final_norm", c_void_p),
        ("state_norm", c_void_p),
    )


class BlockStruct(Structure):
    _fields_ = (
        ("count", c_int64),
        ("cache", c_void_p),
        ("capacity", c_int64),
        ("write_start", c_int64),
        ("num_columns", c_int64),
        ("length", c_int64),
        ("positions", c_void_p),
        ("mask", c_void_p),
        ("mask_stride", c_int64),
        ("hidden_states", c_void_p),
        ("state_layers", c_void_p),
        ("num_states", c_int64),
        ("given", c_void_p),
    )


class LogitFactsStruct(Structure):
    _fields_ = (("k", c_int32), ("top_ids", c_void_p), ("numbers", c_void_p))


class NoisyRowsStruct(Structure):
    _fields_ = (
        ("count", c_int64),
        ("vocab", c_int64),
        ("logits", c_void_p),
        ("log_noise", c_void_p),
        ("divisor", c_float),
    )


class DrawnStruct(Structure):
    _fields_ = (
        ("k", c_int32),
        ("ids", c_void_p),
        ("log_probs", c_void_p),
        ("log_totals", c_void_p),
    )


class RowsStruct(Structure):
    _fields_ = (
        ("count", c_int64),
        ("token_ids", c_void_p),
        ("positions", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("num_positions", c_int64),
        ("capacity", c_int64),
        ("num_blocks", c_int64),
        ("blocks", POINTER(BlockStruct)),
        ("work", c_void_p),
        ("work_floats", c_int64),
        ("logits", c_void_p),
        ("facts", LogitFactsStruct),
    )


class Drawn(NamedTuple):
    """Of every row of logits, the tokens that come first in the exponential race."""

    ids: list[list[int]]
    """Of the largest log-probabilities less log-noise, best first."""
    log_probs: list[list[float]]
    log_totals: list[float]
    """What a scaled logit less it is a log-probability."""


class FactsRoom:
    """Where the kernels write the facts of rows of logits."""

    def __init__(self, num_rows: int, k: int):
        self._ids = np.empty((num_rows, k), np.int64)
        self._numbers = np.empty((num_rows, 2 * k + 2), np.float32)
        self.struct = LogitFactsStruct(k, self._ids.ctypes.data, self._numbers.ctypes.data)

    def facts(self) -> LogitFacts:
        """What was written."""
        rows, k = self._numbers.tolist(), self._ids.shape[1]
        return LogitFacts(
            top_ids=self._ids.tolist(),
            top_logits=[row[:k] for row in rows],
            top_probs=[row[k : 2 * k] for row in rows],
            log_totals=[row[-2] for row in rows],
            entropies=[row[-1] for row in rows],
        )


# The largest logits that are told with them: traces and drafters seldom ask for more.
NOTED_FACTS = 8
# Pieces of weights are taken from memory of this size, each at the begin of a line of the cache.
_SHARED_BYTES = 1 << 25
_LINE_BYTES = 64


class Kernels:
    """The functions of the library, over as many threads as torch uses."""

    def __init__(self, library: ctypes.CDLL, version: str):
        self._library = library
        self.version = version
        """Changes with their source, the compiler and the processor."""
        self._shared = torch.empty(0, dtype=torch.uint8)
        self.panel_outputs: int = library.panel_outputs()
        """Outputs whose weights stand side by side."""
        library.work_floats.restype = c_int64
        library.forward.restype = library.write_rows.restype = c_char_p

    def work_floats(self, model: ModelStruct, num_rows: int, capacity: int, k: int) -> int:
        """Floats of working memory that a forward over so many rows needs; `k` is that of its facts."""
        sizes = c_int64(num_rows), c_int64(capacity), c_int32(k), torch.get_num_threads()
        return int(self._library.work_floats(byref(model), *sizes))

    def forward(self, model: ModelStruct, rows: RowsStruct) -> None:
        """Computes the rows: keys and values into the cache, logits where there is room.

        Raises ValueError for rows that are not inside of what they point into.
        """
        _check(self._library.forward(byref(model), byref(rows), torch.get_num_threads()))

    def multiply_rows(
        self,
        linear: LinearStruct,
        x: torch.Tensor,  # [rows, in_features] float32, contiguous
        to: torch.Tensor,  # [rows, out_features] float32, contiguous
    ) -> None:
        """Writes a layer's product with the rows; ValueError for those of another width."""
        check_floats(x, (len(x), linear.in_features))
        check_floats(to, (len(x), linear.out_features))
        self._library.multiply_rows(
            byref(linear),
            c_int64(x.shape[0]),
            c_void_p(x.data_ptr()),
            c_void_p(to.data_ptr()),
            torch.get_num_threads(),
        )

    def logit_facts(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32, contiguous
        k: int,
    ) -> LogitFacts:
        """Facts of at most as many as there are."""
        rows, vocab = logits.shape
        check_floats(logits, (rows, vocab))
        room = FactsRoom(rows, k)
        self._library.logit_facts(
            c_int64(rows),
            c_int64(vocab),
            c_void_p(logits.data_ptr()),
            byref(room.struct),
            torch.get_num_threads(),
        )
        return room.facts()

    def corrected_logits(
        self,
        linear: LinearStruct,
        x: torch.Tensor,  # [rows, in_features] float32, contiguous
        shared: torch.Tensor,  # [out_features] float32, contiguous
        logits: torch.Tensor,  # [rows, out_features] float32, contiguous
    ) -> LogitFacts:
        """Writes the shared logits with a layer's product with each row added; returns their facts."""
        check_floats(x, (len(x), linear.in_features))
        check_floats(shared, (linear.out_features,))
        check_floats(logits, (len(x), linear.out_features))
        room = FactsRoom(len(x), min(NOTED_FACTS, linear.out_features))
        self._library.corrected_logits(
            byref(linear),
            c_int64(len(x)),
            c_void_p(x.data_ptr()),
            c_void_p(shared.data_ptr()),
            c_void_p(logits.data_ptr()),
            byref(room.struct),
            torch.get_num_threads(),
        )
        return room.facts()

    def drawn_tokens(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32, contiguous
        log_noise: Sequence[torch.Tensor],  # [vocab] float32 each, contiguous
        divisor: float,
        k: int,
    ) -> Drawn:
        """Draws from the softmax of the logits divided by a temperature; `k` at most as many as there
        are."""
        rows, vocab = logits.shape
        check_floats(logits, (rows, vocab))
        if len(log_noise) != rows:
            raise ValueError(f"the kernels were given {rows} rows and noise for {len(log_noise)}")
        for noise in log_noise:
            check_floats(noise, (vocab,))
        ids, log_probs = np.empty((rows, k), np.int64), np.empty((rows, k), np.float32)
        log_totals = np.empty(rows, np.float32)
        noises = (c_void_p * rows)(*(noise.data_ptr() for noise in log_noise))
        scores = torch.empty(rows, vocab)
        self._library.drawn_tokens(
            byref(
                NoisyRowsStruct(rows, vocab, logits.data_ptr(), ctypes.addressof(noises), divisor)
            ),
            byref(DrawnStruct(k, *(array.ctypes.data for array in (ids, log_probs, log_totals)))),
            c_void_p(scores.data_ptr()),
            torch.get_num_threads(),
        )
        return Drawn(ids.tolist(), log_probs.tolist(), log_totals.tolist())

    def log_noise(self, key: int, vocab_size: int) -> torch.Tensor:
        """Logarithms of the noise of `core.acceptance.sampling` under an unsigned key  # [vocab]"""
        noise = torch.empty(vocab_size)
        self._library.log_noise(
            c_uint64(key),
            c_int64(vocab_size),
            c_void_p(noise.data_ptr()),
            torch.get_num_threads(),
        )
        return noise

    def pack_floats(
        self,
        weight: torch.Tensor,  # [num_outputs, in_features] of 2 or 4 bytes, contiguous
    ) -> torch.Tensor:
        """The panels of a dense weight  # [panels, bytes of a panel] uint8"""
        # Two columns of bfloat16 stand together.
        element_bytes = 2 if weight.dtype == torch.float16 else 4
        count = weight.shape[1] * weight.dtype.itemsize // element_bytes
        panels = self._panels(len(weight), count * element_bytes)
        self._library.pack_floats(
            c_int32(element_bytes),
            c_int64(len(weight)),
            c_int64(count),
            c_void_p(weight.data_ptr()),
            c_void_p(panels.data_ptr()),
            torch.get_num_threads(),
        )
        return panels

    def pack_numbers(
        self,
        values: torch.Tensor,  # [num_outputs, in_features] uint8 below 2 ** bits, contiguous
        bits: int,
    ) -> torch.Tensor:
        """The panels of whole numbers  # [panels, bytes of a panel] uint8"""
        num_outputs, in_features = values.shape
        panels = self._panels(num_outputs, in_features * bits // 8)
        self._library.pack_numbers(
            c_int32(bits),
            c_int64(num_outputs),
            c_int64(in_features),
            c_void_p(values.data_ptr()),
            c_void_p(panels.data_ptr()),
            torch.get_num_threads(),
        )
        return panels

    def pack_blocks(
        self,
        format: int,
        data: np.ndarray[Any, Any],  # [num_outputs, bytes of a row] uint8, contiguous
        in_features: int,
        bits: int,
        scale_bytes: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The panels of a GGUF file's numbers and of their scales, `scale_bytes` a panel
        # [panels, bytes of a panel] uint8 both"""
        values = self._panels(len(data), in_features * bits // 8)
        scales = torch.zeros(len(values), scale_bytes, dtype=torch.uint8)
        self._library.pack_blocks(
            c_int32(format),
            c_int64(len(data)),
            c_int64(in_features),
            c_void_p(data.ctypes.data),
            c_void_p(values.data_ptr()),
            c_void_p(scales.data_ptr()),
            c_int64(scale_bytes),
            torch.get_num_threads(),
        )
        return values, scales

    def _panels(self, num_outputs: int, row_bytes: int) -> torch.Tensor:
        num_panels = -(-num_outputs // self.panel_outputs)
        width = row_bytes * self.panel_outputs
        return self._taken(num_panels * width).view(num_panels, width)

    def _taken(self, num_bytes: int) -> torch.Tensor:
        """Fresh memory, small pieces out of common ones: layers that stand side by side lie on few large
        pages  # [num_bytes] uint8"""
        if num_bytes > _SHARED_BYTES // 4:
            return self._fresh(num_bytes)
        if num_bytes > len(self._shared):
            self._shared = self._fresh(_SHARED_BYTES)
        taken = self._shared[:num_bytes]
        self._shared = self._shared[-(-num_bytes // _LINE_BYTES) * _LINE_BYTES :]
        return taken

    def _fresh(self, num_bytes: int) -> torch.Tensor:
        memory = torch.empty(num_bytes, dtype=torch.uint8)
        self._library.use_large_pages(c_void_p(memory.data_ptr()), c_int64(num_bytes))
        return memory

    def dequantize(
        self,
        linear: LinearStruct,
        to: torch.Tensor,  # [out_features, in_features] float32, contiguous
    ) -> None:
        """Writes the weights out as every product counts them."""
        check_floats(to, (linear.out_features, linear.in_features))
        self._library.dequantize(byref(linear), c_void_p(to.data_ptr()), torch.get_num_threads())

    def write_rows(
        self,
        linear: LinearStruct,
        indices: torch.Tensor,  # [rows] int64, contiguous
        to: torch.Tensor,  # [rows, in_features] float32, contiguous
    ) -> None:
        """Writes some rows of the weights out; ValueError for an index behind the last."""
        check_indices(indices, len(indices))
        check_floats(to, (len(indices), linear.in_features))
        problem = self._library.write_rows(
            byref(linear),
            c_int64(indices.shape[0]),
            c_void_p(indices.data_ptr()),
            c_void_p(to.data_ptr()),
        )
        _check(problem)


def _check(problem: bytes | None) -> None:
    """Raises ValueError for what the kernels refused to compute."""
    if problem is not None:
        raise ValueError(f"the kernels were given {problem.decode()}")


def check_floats(tensor: torch.Tensor, shape: tuple[int, ...], *, is_part: bool = False) -> None:
    """Raises ValueError for what the kernels would not read as float32 numbers of this shape, one
    after the other; of a part of a wider matrix, only those of a row."""
    follows = tensor.stride(-1) == 1 if is_part else tensor.is_contiguous()
    if tensor.dtype != torch.float32 or tensor.shape != shape or not follows:
        raise ValueError(
            f"the kernels take {shape} float32 numbers one after the other and were given "
            f"{tensor.dtype} of the shape {tuple(tensor.shape)}"
        )


def check_indices(indices: torch.Tensor, count: int) -> None:
    """Raises ValueError for what the kernels would not read as so many whole numbers."""
    if indices.dtype != torch.int64 or indices.shape != (count,) or not indices.is_contiguous():
        raise ValueError(
            f"the kernels take {count} int64 numbers one after the other and were given "
            f"{indices.dtype} of the shape {tuple(indices.shape)}"
        )


@cache
def _loaded(path: str) -> Kernels:
    global _last_loaded
    _last_loaded = Kernels(ctypes.CDLL(path), Path(path).stem)
    return _last_loaded


_last_loaded: Kernels | None = None


def loaded_kernels() -> Kernels | None:
    """The kernels, if anything in this process has loaded them."""
    return _last_loaded


def load_kernels(progress: Progress) -> Kernels:
    """Compiles where needed and loads, once a process.

    Raises KernelsUnavailableError with one sentence where there is no compiler that can.
    """
    return _loaded(str(built_library(progress)))
