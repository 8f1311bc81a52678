"""Reads the weights of a Llama-shaped model straight into our own forward's layers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import CpuLinear, can_read_dense, cpu_dense
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.models.folder_check import COMPUTED_ANEW, expected_shapes
from core.models.model_config import ModelConfig
from core.models.weight_files import plain_name
from core.runtime.storage import Progress

_ATTENTION, _MLP, _HEAD = "self_attn.", "mlp.", "lm_head"
_NUMBERS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Placement(NamedTuple):
    """Where weights go and in which numbers."""

    dtype: torch.dtype
    device: torch.device
    kernels: Kernels | None
    """They keep weights of 16 bits as they are, whatever the dtype of the rows is."""


@contextmanager
def open_weights(files: Sequence[Path]) -> Iterator[Mapping[str, torch.Tensor]]:
    """The tensors of safetensors files by their plain names, read as they are asked for.

    Raises SafetensorError or OSError for broken files, and ValueError for two tensors of a name.
    """
    with ExitStack() as opened:
        places: dict[str, _Place] = {}
        for path in files:
            file = opened.enter_context(safe_open(path, framework="pt"))
            for name in file.keys():  # noqa: SIM118
                if plain_name(name) in places:
                    raise ValueError(f"there are two weights named {plain_name(name)}")
                places[plain_name(name)] = _Place(file, name)
        yield _Tensors(places)


class _Place(NamedTuple):
    file: safe_open
    name: str


class _Tensors(Mapping[str, torch.Tensor]):
    def __init__(self, places: Mapping[str, _Place]):
        self._places = places

    def __getitem__(self, name: str) -> torch.Tensor:
        file, stored_name = self._places[name]
        return file.get_tensor(stored_name)  # type: ignore[no-any-return, no-untyped-call]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def num_parameters(tensors: Mapping[str, torch.Tensor]) -> int:
    """Numbers in all tensors; a tied head is in no file."""
    return sum(tensors[name].numel() for name in tensors)


def read_stack(
    tensors: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    place: Placement,
    progress: Progress,
) -> LayerStack | None:
    """All layers; None where the tensors are not exactly those of a supported model.

    Kernels read as many bytes as the model_config says, so that smaller weights must never reach them.
    """
    has_head = _has_own_head(tensors, model_config)
    if not _are_expected(tensors, model_config._replace(is_tied=not has_head)):
        return None
    reader = _Reader(tensors, place)
    layers = []
    num_bytes = sum(tensors[name].nbytes for name in tensors)
    try:
        for index in range(model_config.shape.num_layers):
            progress("reading weights", reader.num_bytes, num_bytes)
            layers.append(reader.layer(index))
        table = reader.linear("", "model.embed_tokens")
        return LayerStack(
            layers=tuple(layers),
            embedding=table,
            final_norm=reader.vector("model.norm"),
            head=reader.linear("", _HEAD) if has_head else table,
        )
    except SafetensorError:
        return None


def _has_own_head(tensors: Mapping[str, torch.Tensor], model_config: ModelConfig) -> bool:
    """As transformers decides: a tied head that is in the files is only tied where it is equal."""
    if not model_config.is_tied:
        return True
    head, table = f"{_HEAD}.weight", "model.embed_tokens.weight"
    return head in tensors and not (table in tensors and torch.equal(tensors[head], tensors[table]))


def _are_expected(tensors: Mapping[str, torch.Tensor], model_config: ModelConfig) -> bool:
    if model_config.shape.num_layers > len(tensors):  # a file may tell of any number
        return False
    wanted = expected_shapes(model_config)
    found = {name for name in tensors if not name.endswith(COMPUTED_ANEW)}
    if model_config.is_tied:
        found.discard(f"{_HEAD}.weight")
    return found == set(wanted) and all(
        tensors[name].shape == sizes and tensors[name].dtype in _NUMBERS
        for name, sizes in wanted.items()
    )


class _Reader:
    """Takes tensors by name."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], place: Placement):
        self._tensors = tensors
        self._place = place
        self.num_bytes = 0
        """Read so far."""

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

    def linear(self, prefix: str, *names: str) -> DenseLinear | CpuLinear:
        """One layer of the rows of all named ones."""
        parts = [self._take(f"{prefix}{name}.weight") for name in names]
        weight = torch.cat(parts) if len(parts) > 1 else parts[0].clone()
        biases = [self._vector_or_none(f"{prefix}{name}.bias") for name in names]
        present = [bias for bias in biases if bias is not None]
        bias = torch.cat(present) if len(present) == len(names) else None
        kernels = self._place.kernels
        if kernels is not None and can_read_dense(weight):
            return cpu_dense(kernels, weight, bias)
        return DenseLinear(self._in_place(weight), bias)

    def _take(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name]
        self.num_bytes += tensor.nbytes
        return tensor

    def _in_place(self, tensor: torch.Tensor) -> torch.Tensor:
        # A file's own memory must not be held on to: it may be written over while the model lives.
        return tensor.to(self._place.device, self._place.dtype, copy=True)
