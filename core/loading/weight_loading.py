"""Reads the weights of a described model straight into our own forward's layers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import CpuLinear, can_read_dense, cpu_bytes, cpu_dense
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import ExpertWeights, LayerStack, LayerWeights
from core.families.description import Description
from core.families.mtp import mtp_tensors
from core.families.tensors import (
    Part,
    StackedPart,
    Vector,
    embedding,
    expected_shapes,
    expert_part,
    final_norm,
    head,
    layer_tensors,
)
from core.models.folder_check import COMPUTED_ANEW
from core.models.mxfp4 import unpacked
from core.models.weight_files import plain_name
from core.runtime.storage import Progress, no_progress

_PACKED, _PACKED_NAMES = (torch.uint8,), ("_blocks", "_scales")
_NUMBERS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Placement(NamedTuple):
    """Where weights go and in which numbers."""

    dtype: torch.dtype
    device: torch.device
    kernels: Kernels | None
    """They keep weights of 16 bits as they are, whatever the dtype of the rows is."""
    rounds_rows: bool = False
    """Whether the kernels' weights are bfloat16, and meet rows rounded to it."""
    rounds_weights: bool = False
    """Whether the kernels' weights are rounded to 8 bits."""


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
    described: Description,
    place: Placement,
    progress: Progress,
) -> LayerStack | None:
    """All layers; None where the tensors are not exactly those of the described model.

    Kernels read as many bytes as the description says, so that smaller weights must never reach them.
    """
    has_head = _has_own_head(tensors, described)
    if not _are_expected(tensors, described._replace(is_tied=not has_head)):
        return None
    num_bytes = sum(tensors[name].nbytes for name in tensors)
    try:
        return Reader(tensors, place).stack(described, num_bytes, progress, has_head=has_head)
    except SafetensorError:
        return None


def stack_of(module: Any, described: Description) -> LayerStack | None:
    """The layers of a transformers module, over copies of its weights; None where it names them
    otherwise than its files."""
    place = Placement(module.dtype, module.device, None)
    tensors = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    return read_stack(tensors, described, place, no_progress)


def trained_stack(module: Any, described: Description) -> LayerStack:
    """The same over the module's own parameters, through which gradients flow."""
    reader = Reader(
        dict(module.named_parameters()),
        Placement(module.dtype, module.device, None),
        is_mapped=False,
    )
    return reader.stack(described, 0, no_progress, has_head=not described.is_tied)


def _has_own_head(tensors: Mapping[str, torch.Tensor], described: Description) -> bool:
    """As transformers decides: a tied head that is in the files is only tied where it is equal."""
    if not described.is_tied:
        return True
    own, table = f"{described.family.head}.weight", f"{described.family.embedding}.weight"
    return own in tensors and not (table in tensors and torch.equal(tensors[own], tensors[table]))


def _are_expected(tensors: Mapping[str, torch.Tensor], described: Description) -> bool:
    # A configuration may tell of any number.
    shape, table = described.architecture, described.family.experts
    fewest = shape.num_layers
    if shape.experts is not None and table is not None and table.stacked is None:
        fewest += shape.experts.num_experts * sum(described.is_sparse)
    if fewest > len(tensors):
        return False
    wanted = expected_shapes(described)
    found = {name for name in tensors if not name.endswith(COMPUTED_ANEW)}
    found -= mtp_tensors(found, shape.num_layers)
    if described.is_tied:
        found.discard(f"{described.family.head}.weight")
    return found == set(wanted) and all(
        tensors[name].shape == sizes
        and tensors[name].dtype in (_PACKED if name.endswith(_PACKED_NAMES) else _NUMBERS)
        for name, sizes in wanted.items()
    )


class Reader:
    """Takes tensors by name."""

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], place: Placement, *, is_mapped: bool = True
    ):
        """`is_mapped` tells that tensors are a file's own memory, which must not be held on to: it may
        be written over while the model lives."""
        self._tensors = tensors
        self._place = place
        self._is_mapped = is_mapped
        self._num_bytes = 0  # read so far

    def stack(
        self, described: Description, num_bytes: int, progress: Progress, *, has_head: bool
    ) -> LayerStack:
        """All of a model whose tensors are known to be there; `num_bytes` is their size."""
        layers = []
        for index in range(described.architecture.num_layers):
            progress("reading weights", self._num_bytes, num_bytes)
            layers.append(self.layer(described, index))
        table = self.linear(embedding(described))
        return LayerStack(
            layers=tuple(layers),
            embedding=table,
            final_norm=self.vector(final_norm(described)),
            head=self.linear(head(described)) if has_head else table,
        )

    def layer(self, described: Description, index: int) -> LayerWeights:
        """One layer, its experts one by one."""
        names = layer_tensors(described, index)
        vectors: dict[str, Any] = dict.fromkeys(("input_norm", "q_norm", "k_norm", "ffn_norm"))
        vectors |= {name: self.vector(vector) for name, vector in names.vectors.items()}
        linears: dict[str, Any] = {"gate_up": None, "down": None}
        linears |= {name: self.linear(part) for name, part in names.linears.items()}
        for part, stack in names.stacked.items():
            for expert, linear in enumerate(self._stacked(stack)):
                linears[expert_part(expert, part)] = linear
        experts: list[ExpertWeights] = []
        while expert_part(len(experts), "down") in linears:
            number = len(experts)
            pair = [linears.pop(expert_part(number, part)) for part in ("gate_up", "down")]
            experts.append(ExpertWeights(*pair))
        return LayerWeights(
            cache_index=index,
            kind=described.kinds[index],
            experts=tuple(experts),
            **vectors,
            **linears,
        )

    def vector(self, vector: Vector) -> torch.Tensor:
        """A norm's weight, or sinks  # [size], of a layer norm what it multiplies and adds [2, size]"""
        found = torch.ones(vector.size) if vector.name is None else self._take(vector.name)
        if vector.offset:
            # In float32, for a sum of 16 bits would lose what the offset was left out for.
            found = found.float() + vector.offset
        if vector.is_layer_norm:
            added = (
                torch.zeros_like(found)
                if vector.bias_name is None
                else self._take(vector.bias_name)
            )
            found = torch.stack([found, added.to(found.dtype)])
        if vector.order is not None:
            found = found[..., list(vector.order)]
        return found.to(self._place.device) if vector.offset else self._in_place(found)

    def linear(self, part: Part) -> DenseLinear | CpuLinear:
        """One layer of the rows of all that it is made of."""
        bias = None
        if part.has_bias:
            bias = self._rows([f"{name}.bias" for name in part.names], part.order)
        return self._layer([f"{name}.weight" for name in part.names], part.order, bias)

    def _layer(
        self, names: Sequence[str], order: Sequence[int] | None, bias: torch.Tensor | None
    ) -> DenseLinear | CpuLinear:
        if order is None and self._place.kernels is not None:
            return self._made([self._take(name) for name in names], bias)
        return self._made([self._rows(names, order)], bias)

    def _stacked(self, part: StackedPart) -> Iterator[DenseLinear | CpuLinear]:
        """A layer of each expert."""
        ends = _PACKED_NAMES if part.is_packed else ("",)
        weights = [[self._take(name + end) for end in ends] for name in part.names]
        biases = [self._take(name) for name in part.bias_names]
        order = slice(None) if part.order is None else list(part.order)
        for expert in range(len(weights[0][0])):
            pieces = []
            for tensors in weights:
                own = [tensor[expert] for tensor in tensors]
                rows = unpacked(*own) if part.is_packed else own[0]
                pieces.append(rows.T if part.is_turned and not part.is_packed else rows)
            bias = torch.cat([bias[expert] for bias in biases])[order] if biases else None
            yield self._made([torch.cat(pieces)[order].contiguous()], bias)

    def _rows(self, names: Sequence[str], order: Sequence[int] | None) -> torch.Tensor:
        """The rows of all tensors in a memory of their own."""
        parts = [self._take(name) for name in names]
        rows = torch.cat(parts) if len(parts) > 1 else parts[0]
        if order is not None:
            return rows[list(order)]
        return rows.clone() if self._is_mapped and rows is parts[0] else rows

    def _made(
        self, weights: Sequence[torch.Tensor], bias: torch.Tensor | None
    ) -> DenseLinear | CpuLinear:
        """A layer of the rows of all weights."""
        place = self._place
        bias = None if bias is None else bias.to(place.device, place.dtype)
        kernels = place.kernels
        if kernels is not None and can_read_dense(weights[0]):
            if place.rounds_weights:
                return cpu_bytes(kernels, weights, bias)
            if place.rounds_rows:
                weights = [weight.bfloat16() for weight in weights]
            return cpu_dense(kernels, weights, bias, rounds_rows=place.rounds_rows)
        weight = torch.cat(list(weights)) if len(weights) > 1 else weights[0]
        return DenseLinear(self._in_place(weight), bias)

    def _take(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name]
        self._num_bytes += tensor.nbytes
        return tensor

    def _in_place(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._place.device, self._place.dtype, copy=self._is_mapped)
