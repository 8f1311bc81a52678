"""The runs of all visitors by unguessable id; the oldest ended ones make room for new ones."""

import secrets
import threading

from app.runs.run import Run

MAX_RUNS = 200
# A node with its alternatives takes about a kilobyte here.
MAX_NODES = 400_000


class RunStore:
    """Finds a run by its id. Whoever knows the id may read the run: ids are never listed."""

    def __init__(self, max_runs: int = MAX_RUNS, max_nodes: int = MAX_NODES):
        self._max_runs = max_runs
        self._max_nodes = max_nodes
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def create(
        self,
        user_text: str,
        mode: str,
        replaces: str | None = None,
        *,
        turn_id: str | None = None,
        after_id: str | None = None,
    ) -> Run:
        """A new run; evicts ended runs, oldest first, where the store is full."""
        run_id = secrets.token_urlsafe(16)
        record = Run(run_id, user_text, mode, replaces, turn_id=turn_id, after_id=after_id)
        with self._lock:
            self._make_room()
            self._runs[record.run_id] = record
        return record

    def get(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    @property
    def runs(self) -> list[Run]:
        """All runs that are kept, oldest first."""
        return list(self._runs.values())

    def drop(self, run_ids: list[str]) -> None:
        """Stops and forgets runs; unknown ids are ignored."""
        with self._lock:
            for run_id in run_ids:
                record = self._runs.pop(run_id, None)
                if record is not None:
                    record.stop.set()

    def _make_room(self) -> None:
        num_nodes = sum(record.num_nodes for record in self._runs.values())
        for run_id, record in list(self._runs.items()):
            if len(self._runs) < self._max_runs and num_nodes < self._max_nodes:
                return
            if record.is_ended:
                num_nodes -= record.num_nodes
                del self._runs[run_id]
