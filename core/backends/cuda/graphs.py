"""Work on a device, done again by captured graphs, and the marks that say when it was done."""

import gc
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

Mark = torch.cuda.Event | float


class Graphs:
    """Runs functions whose inputs and outputs stand in static buffers.

    The first time a function runs as it is, which compiles what it needs; the second time it is
    captured; from then on the graph is replayed. A CPU has no graphs and runs it always.

    A function may have other devices work as well, each on its current stream: one graph then has what
    all of them do. They begin when the first device comes to it, which goes on when all have ended.
    """

    def __init__(self, device: torch.device, others: Sequence[torch.device] = ()):
        self._is_cuda = device.type == "cuda"
        self._device = device
        self._streams = [_stream_on(other) for other in others if self._is_cuda]
        self._pools = [_pool_on(stream.device) for stream in self._streams]
        self._seen: set[Hashable] = set()
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._is_cuda else None

    @property
    def num_captured(self) -> int:
        """Graphs that were captured so far."""
        return len(self._graphs)

    def run(self, key: Hashable, function: Callable[[], None]) -> bool:
        """Runs a function; the same key means the same work on the same buffers.

        Returns whether it ran as it always will, so that its time tells what it costs.
        """
        if not self._is_cuda or key not in self._seen:
            is_first = key not in self._seen
            self._seen.add(key)
            self._run_everywhere(function)
            return not is_first
        graph = self._graphs.get(key)
        is_new = graph is None
        if graph is None:
            graph = torch.cuda.CUDAGraph()
            with ExitStack() as stack:
                stack.enter_context(_without_collection())
                # The allocator of each device keeps what a graph has there for it alone.
                for pool, stream in zip(self._pools, self._streams, strict=True):
                    stack.enter_context(torch.cuda.use_mem_pool(pool, stream.device))
                stack.enter_context(torch.cuda.graph(graph, pool=self._pool))
                self._run_everywhere(function)
            self._graphs[key] = graph
        graph.replay()
        return not is_new

    def _run_everywhere(self, function: Callable[[], None]) -> None:
        if not self._streams:
            function()
            return
        with ExitStack() as stack:
            first = torch.cuda.current_stream(self._device)
            begun = first.record_event()
            for stream in self._streams:
                stream.wait_event(begun)
                stack.enter_context(torch.cuda.stream(stream))
            stack.enter_context(torch.cuda.device(self._device))
            function()
            for stream in self._streams:
                with torch.cuda.device(stream.device):
                    ended = stream.record_event()
                first.wait_event(ended)


@contextmanager
def _without_collection() -> Iterator[None]:
    """A capture fails where Python collects a graph that nobody has any more."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _stream_on(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _pool_on(device: torch.device) -> torch.cuda.MemPool:
    with torch.cuda.device(device):
        return torch.cuda.MemPool()


class Marks:
    """Points on the device's own clock, told in seconds of the host's."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._is_cuda = device.type == "cuda"
        self._origin: torch.cuda.Event | None = None
        self._origin_s = 0.0
        if self._is_cuda:
            torch.cuda.synchronize(device)
            self._origin = _recorded()
            self._origin.synchronize()
            self._origin_s = clock()

    def mark(self) -> Mark:
        """Marks the end of the work given so far."""
        if not self._is_cuda:
            return self._clock()
        return _recorded()

    def wait(self, mark: Mark) -> None:
        """Waits until the work before the mark is done."""
        if isinstance(mark, torch.cuda.Event):
            mark.synchronize()

    def seconds(self, mark: Mark) -> float:
        """When a mark that was waited for was reached."""
        if isinstance(mark, float):
            return mark
        assert self._origin is not None
        return self._origin_s + float(self._origin.elapsed_time(mark)) * 1e-3


def _recorded() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
