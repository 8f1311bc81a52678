"""Reads the weights of a Llama-shaped model straight into the lean forward's layers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from core.lean.linear import DenseLinear
from core.lean.native.library import Kernels
from core.lean.native.linear import NativeLinear, can_read_dense, native_dense
from core.lean.weights import LayerStack, LayerWeights
from core.models.folder_check import have_shapes
from core.models.outline import Outline
from core.models.storage import Progress

_ATTENTION, _MLP = "self_attn.", "mlp."


class Placement(NamedTuple):
    """Where weights go and in which numbers."""

    dtype: torch.dtype
    device: torch.device
    kernels: Kernels | None
    """They keep weights of 16 bits as they are, whatever the dtype of the rows is."""


@contextmanager
def open_weights(folder: Path) -> Iterator[Mapping[str, torch.Tensor]]:
    """The tensors of a folder's safetensors files by name, read as they are asked for.

    Raises SafetensorError or OSError for broken files.
    """
    with ExitStack() as opened:
        names = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = opened.enter_context(safe_open(path, framework="pt"))
            names.update(dict.fromkeys(file.keys(), file))
        yield _Tensors(names)


class _Tensors(Mapping[str, torch.Tensor]):
    def __init__(self, files: Mapping[str, safe_open]):
        self._files = files

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._files[name].get_tensor(name)  # type: ignore[no-any-return, no-untyped-call]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def num_parameters(tensors: Mapping[str, torch.Tensor]) -> int:
    """Numbers in all tensors; a tied head is in no file."""
    return sum(tensors[name].numel() for name in tensors)


def read_stack(
    tensors: Mapping[str, torch.Tensor], outline: Outline, place: Placement, progress: Progress
) -> LayerStack | None:
    """All layers; None where the tensors are not exactly those of a supported model."""
    if outline.is_tied == ("lm_head.weight" in tensors) or not have_shapes(tensors, outline):
        return None
    reader = _Reader(tensors, place)
    layers = []
    num_bytes = sum(tensors[name].nbytes for name in tensors)
    try:
        for index in range(outline.shape.num_layers):
            progress("reading weights", reader.num_bytes, num_bytes)
            layers.append(reader.layer(index))
        table = reader.linear("", "model.embed_tokens")
        stack = LayerStack(
            layers=tuple(layers),
            embedding=table,
            final_norm=reader.vector("model.norm"),
            head=table if outline.is_tied else reader.linear("", "lm_head"),
        )
    except (KeyError, SafetensorError):
        return None
    return stack if reader.has_all() else None


class _Reader:
    """Takes tensors by name, and notes which were taken."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], place: Placement):
        self._tensors = tensors
        self._place = place
        self._taken: set[str] = set()
        self.num_bytes = 0
        """Read so far."""

    def has_all(self) -> bool:
        """Whether no tensor was left that the model would have computed with."""
        left = set(self._tensors) - self._taken
        return all(name.endswith("rotary_emb.inv_freq") for name in left)

    def layer(self, index: int) -> LayerWeights:
        prefix = f"model.layers.{index}."
        attention = prefix + _ATTENTION
        return LayerWeights(
            cache_index=index,
            input_norm=self.vector(prefix + "input_layernorm"),
            qkv=self.linear(attention, "q_proj", "k_proj", "v_proj"),
            q_norm=self._vector_or_none(attention + "q_norm.weight"),
            k_norm=self._vector_or_none(attention + "k_norm.weight"),
            o=self.linear(attention, "o_proj"),
            post_norm=self.vector(prefix + "post_attention_layernorm"),
            gate_up=self.linear(prefix + _MLP, "gate_proj", "up_proj"),
            down=self.linear(prefix + _MLP, "down_proj"),
        )

    def vector(self, name: str) -> torch.Tensor:
        """A norm's weight  # [width]."""
        return self._in_place(self._take(name + ".weight"))

    def _vector_or_none(self, name: str) -> torch.Tensor | None:
        return self._in_place(self._take(name)) if name in self._tensors else None

    def linear(self, prefix: str, *names: str) -> DenseLinear | NativeLinear:
        """One layer of the rows of all named ones."""
        parts = [self._take(f"{prefix}{name}.weight") for name in names]
        weight = torch.cat(parts) if len(parts) > 1 else parts[0].clone()
        biases = [self._vector_or_none(f"{prefix}{name}.bias") for name in names]
        present = [bias for bias in biases if bias is not None]
        bias = torch.cat(present) if len(present) == len(names) else None
        kernels = self._place.kernels
        if kernels is not None and can_read_dense(weight):
            return native_dense(kernels, weight, bias)
        return DenseLinear(self._in_place(weight), bias)

    def _take(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name]
        self._taken.add(name)
        self.num_bytes += tensor.nbytes
        return tensor

    def _in_place(self, tensor: torch.Tensor) -> torch.Tensor:
        # A file's own memory must not be held on to: it may be written over while the model lives.
        return tensor.to(self._place.device, self._place.dtype, copy=True)
