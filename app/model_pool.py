"""Seats for engines and the one queue for them. Models load on the thread that holds a turn."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.engine_seat import EngineKey, EngineSeat, LoadEngine, PoolStatus
from app.turnstile import Turnstile

# Of several seats the page tells of the one that comes first here.
_PHASES = ("loading", "ready", "failed", "empty")


class ModelPool:
    """Holds a few engines, each in a seat of its own; loading another one into it frees it."""

    def __init__(self, load: LoadEngine, num_seats: int = 1):
        """`num_seats` runs go on at once."""
        self._seats = [EngineSeat(load) for _ in range(num_seats)]
        self._free = list(self._seats)
        self._lock = threading.Lock()
        self.turnstile = Turnstile(num_seats)
        self._first_key: EngineKey | None = None

    def preload(self, key: EngineKey, owner: str | None = None) -> threading.Thread:
        """Starts loading into a seat in the background; a failure is kept as its status."""
        return self._preload(key, is_another=False, owner=owner)

    def preload_all(self, key: EngineKey) -> list[threading.Thread]:
        """Starts loading the same into every seat, as at the program's start."""
        self._first_key = key
        return [self._preload(key, is_another=True) for _ in self._seats]

    def _preload(
        self, key: EngineKey, *, is_another: bool, owner: str | None = None
    ) -> threading.Thread:
        ticket = self.turnstile.join(owner)

        def load_in_turn() -> None:
            try:
                ticket.wait(threading.TIMEOUT_MAX)
                seat = self._take(key, is_another=is_another)
                try:
                    seat.engine(key)
                finally:
                    self._give_back(seat)
            except Exception:  # the status has the sentence, and the next run tries again
                return
            finally:
                ticket.leave()

        thread = threading.Thread(target=load_in_turn, name="preload", daemon=True)
        thread.start()
        return thread

    @contextmanager
    def seat(self, key: EngineKey) -> Iterator[EngineSeat]:
        """A seat for one run, best one that has the engine already. Only while holding a turn.

        An engine that is lost in the run is started again behind it.
        """
        seat = self._take(key, is_another=False)
        try:
            yield seat
        finally:
            was_lost = seat.key == key and seat.status.phase == "ready" and seat.loaded is None
            self._give_back(seat)
            if was_lost:
                self._preload(key, is_another=True)

    def _take(self, key: EngineKey, *, is_another: bool) -> EngineSeat:
        """Takes a free seat: one with the engine, else an empty one, else the one unused longest.

        For another engine of the same key, those that have it come last.
        """
        with self._lock:
            has_it = [seat for seat in self._free if seat.key == key and seat.loaded is not None]
            empty = [seat for seat in self._free if seat.loaded is None]
            order = [empty, self._free] if is_another else [has_it, empty, self._free]
            seat = next(seats[0] for seats in order if seats)
            self._free.remove(seat)
            return seat

    def _give_back(self, seat: EngineSeat) -> None:
        with self._lock:
            self._free.append(seat)

    def cancel(self) -> None:
        """Ends what is being loaded or prepared, at its next report of progress."""
        for seat in self._seats:
            seat.cancel()

    @property
    def status(self) -> PoolStatus:
        """Of the seats; what goes on is told before what has ended."""
        return min((seat.status for seat in self._seats), key=lambda s: _PHASES.index(s.phase))

    @property
    def is_healthy(self) -> bool:
        """False where no seat can load what the program was started with, or anything at all.

        That a visitor names a model which cannot be had says nothing of the machine.
        """
        failed = [seat for seat in self._seats if seat.status.phase == "failed"]
        asked = [seat for seat in failed if seat.was_refused and seat.key != self._first_key]
        return len(failed) - len(asked) < len(self._seats)

    @property
    def target(self) -> str | None:
        """The name of a loaded target."""
        seat = self._loaded_seat()
        return seat.key.target if seat is not None and seat.key is not None else None

    def unavailable_reason(self, mode: str, draft: str | None) -> str | None:
        """Why the loaded target cannot run a mode; None where it can or nothing is loaded."""
        seat = self._loaded_seat()
        engine = None if seat is None else seat.loaded
        return None if engine is None else engine.unavailable_reason(mode, draft)

    def _loaded_seat(self) -> EngineSeat | None:
        return next((seat for seat in self._seats if seat.loaded is not None), None)
