"""A fair queue for one engine: everybody in it can see how many are ahead."""

import threading


class Ticket:
    """A place in the queue; it holds the engine while it is the first one."""

    def __init__(self, turnstile: "Turnstile"):
        self._turnstile = turnstile

    def num_ahead(self) -> int:
        """Tickets before this one; 0 when it is its turn."""
        return self._turnstile.num_ahead(self)

    def wait(self, timeout_s: float) -> bool:
        """Whether it is this ticket's turn, waiting for it at most so long."""
        return self._turnstile.wait(self, timeout_s)

    def leave(self) -> None:
        """Gives the place up, from wherever in the queue; safe to call again."""
        self._turnstile.leave(self)


class Turnstile:
    """Tickets in order of arrival; the first one holds the engine until it leaves."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: list[Ticket] = []

    @property
    def length(self) -> int:
        """Tickets that wait or hold the engine."""
        with self._changed:
            return len(self._tickets)

    def join(self) -> Ticket:
        """A ticket at the end of the queue."""
        ticket = Ticket(self)
        with self._changed:
            self._tickets.append(ticket)
        return ticket

    def num_ahead(self, ticket: Ticket) -> int:
        with self._changed:
            return self._tickets.index(ticket)

    def wait(self, ticket: Ticket, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._tickets[0] is ticket, timeout_s)

    def leave(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
                self._changed.notify_all()
