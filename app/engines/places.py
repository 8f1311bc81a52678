"""Where an engine's worker runs: a process of this machine, or an actor on a Ray cluster.

Both run `app.engines.worker.work` and talk over the same two pipes; only how they start and end differs.
"""

import multiprocessing
import secrets
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import (
    Client,
    Connection,
    answer_challenge,
    deliver_challenge,
)
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

from app.engines.engine_slot import Progress
from app.engines.worker import WorkerLoad, work
from core.errors import ModelUnavailableError
from core.runtime.ray_cluster import Share

_PATIENCE_S = 5.0
# How soon a worker that is waited for is found to have come, or to be lost.
_POLL_S = 0.2


class Handle(Protocol):
    """A worker, as far as its life goes."""

    @property
    def is_alive(self) -> bool: ...

    def obituary(self) -> str:
        """How it ended, as the end of a sentence; waits a little for what is ending."""
        ...

    def end(self) -> None:
        """Ends it at once: its files are written whole or not at all."""
        ...


class StartedWorker(NamedTuple):
    """A worker with the page's ends of its pipes."""

    orders: Connection
    questions: Connection
    handle: Handle


StartWorker = Callable[[WorkerLoad, int, Progress], StartedWorker]
"""Starts worker of a number, which it alone has while it lives; may say what it waits for, and raises
what that raises, and ModelUnavailableError where there is none to be had."""


class OwnMachine:
    """Starts workers as processes of this machine; implements `StartWorker`."""

    def __init__(self, count: int):
        """`count` of them share the machine."""
        self._count = count

    def __call__(self, load: WorkerLoad, number: int, progress: Progress) -> StartedWorker:
        # A fork would share locks and the GPU with this process.
        context = multiprocessing.get_context("spawn")
        own_orders, orders = context.Pipe()
        own_questions, questions = context.Pipe()
        process = context.Process(
            target=work,
            args=(load, number, self._count, orders, questions),
            name=f"engine-{number}",
            daemon=True,
        )
        process.start()
        orders.close()  # so that the other end's death is the end of the pipe
        questions.close()
        return StartedWorker(own_orders, own_questions, _OwnProcess(process))


class _OwnProcess:
    """Implements `Handle`."""

    def __init__(self, process: BaseProcess):
        self._process = process

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def obituary(self) -> str:
        self._process.join(_PATIENCE_S)
        code = self._process.exitcode
        return f"was killed by signal {-code}" if code is not None and code < 0 else "ended"

    def end(self) -> None:
        self._process.kill()
        self._process.join()


class RayPlaces:
    """Starts workers as actors of a Ray cluster; implements `StartWorker`.

    An actor calls back to a port of this machine and proves by a key that it is the one. What goes over
    the network is not encrypted, as Ray's own traffic is not.
    """

    def __init__(self, ray: Any, share: Share):
        """`ray` is connected; `share` says what each worker gets of the cluster."""
        self._ray = ray
        self._actor_class = ray.remote(**share.resources)(_EngineActor)
        self._host = ray.util.get_node_ip_address()

    def __call__(self, load: WorkerLoad, number: int, progress: Progress) -> StartedWorker:
        key = secrets.token_bytes(32)
        with socket.create_server((self._host, 0)) as door:
            door.settimeout(_POLL_S)
            actor = self._actor_class.remote()
            handle = _RayActor(self._ray, actor, actor.work.remote(load, door.getsockname(), key))
            try:
                orders = _visitor(door, key, handle, progress)
                questions = _visitor(door, key, handle, progress)
            except BaseException:
                handle.end()
                raise
        return StartedWorker(orders, questions, handle)


def _visitor(
    door: socket.socket, key: bytes, handle: "_RayActor", progress: Progress
) -> Connection:
    """The next pipe of whoever knows the key; those who do not are sent away."""
    while True:
        progress("waiting for a place on the cluster", 0, 0)
        try:
            visitor, _ = door.accept()
        except TimeoutError:
            if not handle.is_alive:
                raise ModelUnavailableError(
                    f"The engine's process {handle.obituary()} while it started; ask once more."
                ) from None
            continue
        _set_patience(visitor, _PATIENCE_S)
        pipe = Connection(visitor.detach())
        try:
            deliver_challenge(pipe, key)
            answer_challenge(pipe, key)
        except (OSError, EOFError, multiprocessing.AuthenticationError):
            pipe.close()
            continue
        with socket.socket(fileno=pipe.fileno()) as again:
            _set_patience(again, 0.0)
            again.detach()  # the pipe's still
        return pipe


def _set_patience(visitor: socket.socket, seconds: float) -> None:
    """How long a read may wait for somebody who says nothing; 0 is for ever. In the system, as a
    timeout of Python's would not hold for the pipe made of the socket."""
    visitor.setblocking(True)
    value = struct.pack("ll", int(seconds), 0)
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


class _EngineActor:
    """What runs on the cluster."""

    def work(self, load: WorkerLoad, door: tuple[str, int], key: bytes) -> None:
        """The whole life of a worker; its machine is not the page's, and all its share is its own."""
        orders = Client(door, authkey=key)
        questions = Client(door, authkey=key)
        work(load, 0, 0, orders, questions)


class _RayActor:
    """Implements `Handle`."""

    def __init__(self, ray: Any, actor: Any, life: Any):
        """`life` is the call that lasts as long as the worker does."""
        self._ray = ray
        self._actor = actor
        self._life = life

    @property
    def is_alive(self) -> bool:
        ended, _ = self._ray.wait([self._life], timeout=0)
        return not ended

    def obituary(self) -> str:
        self._ray.wait([self._life], timeout=_PATIENCE_S)
        return "was lost on the cluster"

    def end(self) -> None:
        # Actors end with the session that they belong to, which Ray would begin anew to look for them.
        if self._ray.is_initialized():
            with suppress(self._ray.exceptions.RayError, ValueError):
                self._ray.kill(self._actor)
