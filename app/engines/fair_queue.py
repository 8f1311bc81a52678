"""A fair queue for a few engines: everybody in it can see how many are ahead."""

import threading
from collections.abc import Callable
from typing import Any


class Ticket:
    """A place in the queue; it holds an engine while it is one of the first."""

    def __init__(self, fair_queue: "FairQueue", owner: str | None):
        self._queue = fair_queue
        self.owner = owner
        self.offer: Any = None
        """What whoever holds an engine may do beside its own work; see `FairQueue.take_next`."""
        self.is_taken = False
        """Whether somebody does it."""

    def num_ahead(self) -> int:
        """Tickets that must leave before it is this one's turn; 0 when it is."""
        return self._queue.num_ahead(self)

    def wait(self, timeout_s: float) -> bool:
        """Whether it is this ticket's turn, or it is taken; waits for that at most so long."""
        return self._queue.wait(self, timeout_s)

    def leave(self) -> None:
        """Gives the place up, from wherever in the queue; safe to call again."""
        self._queue.leave(self)


class FairQueue:
    """Tickets in order of arrival; the first ones hold an engine each until they leave."""

    def __init__(self, num_engines: int = 1) -> None:
        self._num_engines = num_engines
        self._changed = threading.Condition()
        self._tickets: list[Ticket] = []

    @property
    def length(self) -> int:
        """Tickets that wait or hold an engine."""
        with self._changed:
            return len(self._tickets)

    @property
    def has_waiting(self) -> bool:
        """Whether somebody waits for an engine."""
        with self._changed:
            return len(self._tickets) > self._num_engines

    def length_of(self, owner: str | None) -> int:
        """Those of one visitor; nobody's are counted together."""
        with self._changed:
            return sum(ticket.owner == owner for ticket in self._tickets)

    def join(self, owner: str | None = None) -> Ticket:
        """A ticket at the end of the queue, for a visitor."""
        ticket = Ticket(self, owner)
        with self._changed:
            self._tickets.append(ticket)
        return ticket

    def num_ahead(self, ticket: Ticket) -> int:
        with self._changed:
            return self._num_ahead(ticket)

    def _num_ahead(self, ticket: Ticket) -> int:
        if ticket.is_taken:
            return 0
        return max(0, self._tickets.index(ticket) + 1 - self._num_engines)

    def wait(self, ticket: Ticket, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(
                lambda: ticket.is_taken or self._num_ahead(ticket) == 0, timeout_s
            )

    def take_next(self, fits: Callable[[Any], bool]) -> Ticket | None:
        """Takes the first ticket that waits out of the queue, if what it offers fits: for whoever holds
        an engine and does that as well. Nobody who came earlier is passed over."""
        with self._changed:
            waiting = self._tickets[self._num_engines :]
            if not waiting or not fits(waiting[0].offer):
                return None
            ticket = waiting[0]
            self._tickets.remove(ticket)
            ticket.is_taken = True
            self._changed.notify_all()
            return ticket

    def leave(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
                self._changed.notify_all()
