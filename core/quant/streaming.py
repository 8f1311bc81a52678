"""Original weights in the host's memory, streamed to the device layer by layer for each forward.

Three layers have room on the device: the one that computes, the one behind it, and the one that is
copied meanwhile on a stream of its own. As many of the first layers as the budget allows stay there
for good. Everything else of a model (embedding, norms, output layer) is on the device anyway.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import torch

from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.errors import ModelUnavailableError

_NUM_SLOTS = 3
_WORKSPACE_BYTES = 14 * 2**27
_SMALL = ("router", "shared_scale")


class _HostLayer:
    """One layer's linear weights behind each other in pinned memory."""

    def __init__(self, layer: LayerWeights, device: torch.device):
        self.names = list(layer.linears())
        self.linears = [_dense(linear) for linear in layer.linears().values()]
        total = sum(linear.weight.numel() for linear in self.linears)
        dtype = self.linears[0].weight.dtype
        self.flat = torch.empty(total, dtype=dtype, pin_memory=device.type == "cuda")
        start = 0
        for linear in self.linears:
            end = start + linear.weight.numel()
            self.flat[start:end] = linear.weight.flatten()
            start = end
        self.shapes = [linear.weight.shape for linear in self.linears]
        biases = [linear.bias for linear in self.linears]
        self.biases = [None if bias is None else bias.to(device) for bias in biases]
        rest: dict[str, Any] = {name: part.to(device) for name, part in layer.vectors().items()}
        for name in _SMALL:
            if getattr(layer, name) is not None:
                rest[name] = _moved(_dense(getattr(layer, name)), device)
        self.layer = replace(layer, **rest)
        # Over the pinned memory: that of the linears goes as soon as the caller lets it go.
        self.linears = []
        self.layer = self.on(self.flat)

    def on(self, flat: torch.Tensor) -> LayerWeights:
        """The layer over a copy of the weights on the device."""
        parts: dict[str, Linear] = {}
        start = 0
        for name, shape, bias in zip(self.names, self.shapes, self.biases, strict=True):
            parts[name] = StreamedLinear(flat[start : start + shape.numel()].view(shape), bias)
            start += shape.numel()
        return self.layer.with_linears(parts)


class StreamedLinear(DenseLinear):
    """A weight that is on the device only while its layer computes."""

    kernel = "dense, from the host's memory"
    is_static = False


def _dense(linear: Linear) -> DenseLinear:
    assert isinstance(linear, DenseLinear), "only dense weights are streamed"
    return linear


class StreamedLayers(Sequence[LayerWeights]):
    """The layers of a stack. Iterate over them in order, holding on to no more than two."""

    def __init__(self, layers: Sequence[LayerWeights], device: torch.device):
        """`layers` are on the CPU."""
        self._device = device
        self._host = [_HostLayer(layer, device) for layer in layers]
        like = max((host.flat for host in self._host), key=len)
        self._slots = [torch.empty_like(like, device=device) for _ in range(_NUM_SLOTS)]
        self._resident: list[torch.Tensor] = []
        is_cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if is_cuda else None  # type: ignore[no-untyped-call]
        self._copied: dict[int, torch.cuda.Event | None] = {}

    @property
    def layer_bytes(self) -> int:
        """Memory of the largest layer's linear weights."""
        return self._slots[0].nbytes

    @property
    def num_device_bytes(self) -> int:
        """Memory that the layers take on the device."""
        return sum(flat.nbytes for flat in (*self._slots, *self._resident))

    @property
    def num_resident(self) -> int:
        """How many of the first layers stay on the device."""
        return len(self._resident)

    def set_resident(self, count: int) -> None:
        """Keeps the first `count` layers on the device."""
        count = max(0, min(count, len(self._host)))
        del self._resident[count:]
        for host in self._host[len(self._resident) : count]:
            self._resident.append(host.flat.to(self._device))
        self._copied = {}

    def __len__(self) -> int:
        return len(self._host)

    @overload
    def __getitem__(self, index: int) -> LayerWeights: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LayerWeights]: ...
    def __getitem__(self, index: int | slice) -> LayerWeights | Sequence[LayerWeights]:
        """Layers in the host's memory, with the weights' shapes; not for computing."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        host = self._host[index]
        return host.on(host.flat)

    def __iter__(self) -> Iterator[LayerWeights]:
        for index, host in enumerate(self._host):
            if index < len(self._resident):
                yield host.on(self._resident[index])
                continue
            if index not in self._copied:
                self._copy(index)
            following = index + 1 if index + 1 < len(self._host) else len(self._resident)
            if following != index:
                self._copy(following)
            event = self._copied.pop(index)
            if event is not None:
                torch.cuda.current_stream(self._device).wait_event(event)
            yield host.on(self._slot(index))

    def _slot(self, index: int) -> torch.Tensor:
        return self._slots[index % _NUM_SLOTS][: len(self._host[index].flat)]

    def _copy(self, index: int) -> None:
        """Starts the copy of a layer, once what its slot held before has been computed with."""
        if index in self._copied:
            return
        flat = self._host[index].flat
        if self._stream is None:
            self._slot(index).copy_(flat)
            self._copied[index] = None
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._slot(index).copy_(flat, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._stream)
        self._copied[index] = event


def streamed(stack: LayerStack, device: torch.device) -> LayerStack:
    """Moves a stack that was read on the CPU: its layers into pinned memory, the rest to `device`.

    Raises ModelUnavailableError where the host's memory does not suffice.
    """
    try:
        head = _moved(_dense(stack.head), device)
        table: object = stack.embedding
        assert isinstance(table, DenseLinear), "only dense weights are streamed"
        return LayerStack(
            layers=StreamedLayers(stack.layers, device),
            embedding=head if stack.is_tied else _moved(table, device),
            final_norm=stack.final_norm.to(device),
            head=head,
        )
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise ModelUnavailableError(
            "the model does not fit into the host's memory beside its copy for streaming; give a "
            "smaller model, or leave gpu_memory out."
        ) from error


def _moved(linear: DenseLinear, device: torch.device) -> DenseLinear:
    bias = None if linear.bias is None else linear.bias.to(device)
    return DenseLinear(linear.weight.to(device), bias)


def fit(layers: StreamedLayers, budget_bytes: int) -> None:
    """Keeps as many layers on a GPU as its memory budget has room for beside all else that is
    there now and what a step needs while it runs."""
    others = torch.cuda.memory_allocated() - layers.num_resident * layers.layer_bytes
    layers.set_resident((budget_bytes - others - _WORKSPACE_BYTES) // layers.layer_bytes)
