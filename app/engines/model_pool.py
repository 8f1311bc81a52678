"""Slots for engines and the one queue for them. Models load on the thread that holds a turn.

A server takes a turn as well, and no slot: what is loaded here stays loaded.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.engines.engine_slot import EngineKey, EngineSlot, LoadEngine, PoolStatus
from app.engines.engines import attach_engine
from app.engines.fair_queue import FairQueue
from core.modes.server import is_address

# Of several slots the page tells of the one that comes first here.
_PHASES = ("loading", "ready", "failed", "empty")


class ModelPool:
    """Holds a few engines, each in a slot of its own; loading another one into it frees it."""

    def __init__(self, load: LoadEngine, num_slots: int = 1, attach: LoadEngine = attach_engine):
        """`num_slots` runs go on at once; `attach` asks a server, which is named by its address."""
        self._slots = [EngineSlot(load) for _ in range(num_slots)]
        self._free = list(self._slots)
        self._attach = attach
        self._latest = self._slots[0]
        self._lock = threading.Lock()
        self.fair_queue = FairQueue(num_slots)
        self._first_key: EngineKey | None = None

    def preload(self, key: EngineKey, owner: str | None = None) -> threading.Thread:
        """Starts loading into a slot in the background; a failure is kept as its status."""
        return self._preload(key, is_another=False, owner=owner)

    def preload_all(self, key: EngineKey) -> list[threading.Thread]:
        """Starts loading the same into every slot, as at the program's start."""
        self._first_key = key
        return [self._preload(key, is_another=True) for _ in self._slots]

    def _preload(
        self, key: EngineKey, *, is_another: bool, owner: str | None = None
    ) -> threading.Thread:
        ticket = self.fair_queue.join(owner)

        def load_in_turn() -> None:
            try:
                ticket.wait(threading.TIMEOUT_MAX)
                slot = self._take(key, is_another=is_another)
                try:
                    slot.engine(key)
                finally:
                    self._give_back(slot)
            except Exception:  # the status has the sentence, and the next run tries again
                return
            finally:
                ticket.leave()

        thread = threading.Thread(target=load_in_turn, name="preload", daemon=True)
        thread.start()
        return thread

    @contextmanager
    def slot(self, key: EngineKey) -> Iterator[EngineSlot]:
        """A slot for one run, best one that has the engine already. Only while holding a turn.

        An engine that is lost in the run is started again behind it.
        """
        slot = self._take(key, is_another=False)
        try:
            yield slot
        finally:
            was_lost = (
                slot in self._slots
                and slot.key == key
                and slot.status.phase == "ready"
                and slot.loaded is None
            )
            self._give_back(slot)
            if was_lost:
                self._preload(key, is_another=True)

    def _take(self, key: EngineKey, *, is_another: bool) -> EngineSlot:
        """Takes a free slot: one with the engine, else an empty one, else the one unused longest.

        For another engine of the same key, those that have it come last. A server is asked anew each
        time: it may have been started again, with other settings.
        """
        if is_address(key.target):
            self._latest = EngineSlot(self._attach)
            return self._latest
        with self._lock:
            has_it = [slot for slot in self._free if slot.key == key and slot.loaded is not None]
            empty = [slot for slot in self._free if slot.loaded is None]
            order = [empty, self._free] if is_another else [has_it, empty, self._free]
            slot = next(slots[0] for slots in order if slots)
            self._free.remove(slot)
            self._latest = slot
            return slot

    def _give_back(self, slot: EngineSlot) -> None:
        with self._lock:
            if slot in self._slots:
                self._free.append(slot)

    def cancel(self) -> None:
        """Ends what is being loaded or prepared, at its next report of progress."""
        for slot in self._known:
            slot.cancel()

    @property
    def status(self) -> PoolStatus:
        """Of the slots; what goes on is told before what has ended, and of a server that was asked last
        whatever came of it."""
        best = min((slot.status for slot in self._known), key=lambda s: _PHASES.index(s.phase))
        latest = self._latest.status
        is_server = self._latest not in self._slots
        told = latest if is_server and best.phase != "loading" else best
        return told._replace(failure=latest.text if latest.phase == "failed" else "")

    @property
    def _known(self) -> list[EngineSlot]:
        return [*self._slots, *([] if self._latest in self._slots else [self._latest])]

    @property
    def is_healthy(self) -> bool:
        """False where no slot can load what the program was started with, or anything at all.

        That a visitor names a model which cannot be had says nothing of the machine.
        """
        failed = [slot for slot in self._slots if slot.status.phase == "failed"]
        asked = [slot for slot in failed if slot.was_refused and slot.key != self._first_key]
        return len(failed) - len(asked) < len(self._slots)

    @property
    def target(self) -> str | None:
        """The name of a loaded target."""
        slot = self._loaded_slot()
        return slot.key.target if slot is not None and slot.key is not None else None

    def unavailable_reason(self, mode: str, draft: str | None) -> str | None:
        """Why the loaded target cannot run a mode; None where it can or nothing is loaded."""
        slot = self._loaded_slot()
        engine = None if slot is None else slot.loaded
        return None if engine is None else engine.unavailable_reason(mode, draft)

    def _loaded_slot(self) -> EngineSlot | None:
        slots = (self._latest, *self._slots)
        return next((slot for slot in slots if slot.loaded is not None), None)
