"""Grids on disk, so that a model is quantized once and not at every start."""

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from core.errors import StorageError
from core.quant.grid import Grid, quantize
from core.runtime.scratch import places, writable
from core.runtime.strict_json import dumps
from core.runtime.written_files import save_tensors


class GridStore:
    """Grids of one model at one setting, in one safetensors file. `save` writes what was new."""

    def __init__(self, folder: Path, model_key: str, bits: int, group_size: int):
        self._bits = bits
        self._group_size = group_size
        key = [model_key, bits, group_size, version("hqq")]
        digest = hashlib.sha256(dumps(key).encode()).hexdigest()[:20]
        self._path = folder / f"{digest}.safetensors"
        self._tensors = self._read()
        self._is_changed = False

    def _read(self) -> dict[str, torch.Tensor]:
        for path in places(self._path):
            try:
                return dict(load_file(path))
            except (OSError, SafetensorError, ValueError):
                continue
        return {}  # not there yet, or broken: quantized anew

    def grid_of(self, name: str, weight: torch.Tensor) -> Grid:
        """The grid of a named weight; one that cannot be this weight's is made anew."""
        parts = [self._tensors.get(f"{name}.{field}") for field in Grid._fields]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts) and self._fits(Grid(*known), weight):
            return Grid(*known)
        grid = quantize(weight, self._bits, self._group_size)
        for field, tensor in grid._asdict().items():
            self._tensors[f"{name}.{field}"] = tensor
        self._is_changed = True
        return grid

    def _fits(self, grid: Grid, weight: torch.Tensor) -> bool:
        """Kernels read as many numbers as the weight has, and pack values side by side."""
        out_features, in_features = weight.shape
        groups = (out_features, in_features // self._group_size)
        return (
            (grid.values.dtype, grid.values.shape) == (torch.uint8, weight.shape)
            and all(
                (part.dtype, tuple(part.shape)) == (torch.float32, groups)
                for part in (grid.scales, grid.zeros)
            )
            and int(grid.values.max()) < 2**self._bits
        )

    def save(self) -> None:
        """Writes new grids under a temporary name and renames; a full disk is done without."""
        if not self._is_changed:
            return
        try:
            path = writable(self._path)
        except StorageError:
            return
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_tensors(self._tensors, temporary)
            temporary.replace(path)
        except (OSError, SafetensorError):
            temporary.unlink(missing_ok=True)
