"""A fair queue for a few engines: everybody in it can see how many are ahead."""

import threading


class Ticket:
    """A place in the queue; it holds an engine while it is one of the first."""

    def __init__(self, fair_queue: "FairQueue", owner: str | None):
        self._queue = fair_queue
        self.owner = owner

    def num_ahead(self) -> int:
        """Tickets that must leave before it is this one's turn; 0 when it is."""
        return self._queue.num_ahead(self)

    def wait(self, timeout_s: float) -> bool:
        """Whether it is this ticket's turn, waiting for it at most so long."""
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
        return max(0, self._tickets.index(ticket) + 1 - self._num_engines)

    def wait(self, ticket: Ticket, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._num_ahead(ticket) == 0, timeout_s)

    def leave(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
                self._changed.notify_all()
