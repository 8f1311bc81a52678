"""What the first process has the others do, over a group of its own.

Every decision of a run is the first process's: the others hold their part of the target's layers and
of its cache, and compute what they are told. Orders go over gloo between CPUs, whatever device
computes, so that a process that waits for one costs nothing.
"""

from collections import deque
from datetime import timedelta
from enum import IntEnum
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

# Nobody asks for a token as long as nobody asks: a page may wait for days.
_PATIENCE = timedelta(days=365)
_NUM_NUMBERS = 8


class Order(IntEnum):
    """What is to be done; the numbers that follow are named behind it."""

    LOAD = 0
    """Objects: name and dtype of the target."""
    FORWARD = 1
    """cache, capacity, write_start, rows, columns of the mask or 0, whether logits are wanted."""
    KEEP = 2
    """cache, committed length, number of rows."""
    DROP = 3
    """cache."""
    END = 4


class Message(NamedTuple):
    """An order with its numbers."""

    order: Order
    numbers: list[int]


class Channel:
    """Between the first process, which sends, and all others. Made in all of them at once."""

    def __init__(self) -> None:
        self._group = dist.new_group(backend="gloo", timeout=_PATIENCE)
        self._dropped: deque[int] = deque()

    def drop_later(self, cache: int) -> None:
        """Has a cache dropped in front of the next order; may be called at any moment."""
        self._dropped.append(cache)

    def send(self, order: Order, *numbers: int) -> None:
        """To all others, which `receive` it."""
        while self._dropped:
            self._send(Order.DROP, self._dropped.popleft())
        self._send(order, *numbers)

    def _send(self, order: Order, *numbers: int) -> None:
        padding = [0] * (_NUM_NUMBERS - 1 - len(numbers))
        self._share(torch.tensor([order, *numbers, *padding]))

    def receive(self) -> Message:
        """Waits for the next order."""
        numbers = torch.empty(_NUM_NUMBERS, dtype=torch.int64)
        self._share(numbers)
        order, *rest = numbers.tolist()
        return Message(Order(order), rest)

    def share(self, tensor: torch.Tensor) -> torch.Tensor:
        """The first process's tensor; the others give one of its shape and dtype to write into."""
        self._share(tensor)
        return tensor

    def _share(self, tensor: torch.Tensor) -> None:
        dist.broadcast(tensor, 0, group=self._group)

    def share_objects(self, *objects: Any) -> list[Any]:
        """The first process's objects; the others give as many of any sort."""
        shared = list(objects)
        dist.broadcast_object_list(shared, 0, group=self._group)
        return shared

    def gather(self, text: str) -> list[str]:
        """What every process has to say."""
        texts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(texts, text, group=self._group)
        return texts
