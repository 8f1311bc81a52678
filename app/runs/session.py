"""The chat of one page: the turns so far and the run in progress."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.engines.chat import Message
from app.runs.run import Run
from app.runs.visitors import owner_of, visitor_of
from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory

if TYPE_CHECKING:
    from app.runs.comparison_run import ComparisonRun
    from app.runs.lab_profiles import Lab


_MOST_MEMORIES = 3


class ChatSession:
    """Held in the page's own `gr.State`; the stop button reaches the run through it.

    The page remembers which runs it has, so that another one can go on with them: see `resume`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[Run] = []
        self.visitor: str | None = None
        """Whose runs are kept on disk; None keeps none."""
        self.owner: str | None = None
        """Who takes places in the queue; also known of those for whom nothing is kept."""
        self.entries: list[RunConfig] = []
        """What a comparison runs beside plain decoding."""
        self.comparison: ComparisonRun | None = None
        """The last comparison."""
        self.batch: list[Run] = []
        """The rows of the last batch."""
        self.lab: Lab | None = None
        """The last profiles."""
        self._memories: dict[str, SuffixMemory] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "ChatSession":
        """A new visitor's session; Gradio copies the one that it was given."""
        return ChatSession()

    def take(self, request: Any) -> None:
        """Learns from a request whose session it is."""
        self.visitor, self.owner = visitor_of(request), owner_of(request)

    def memory_of(self, target: str) -> SuffixMemory:
        """What the page's runs with a target remember; of few targets at a time."""
        with self._lock:
            memory = self._memories.pop(target, None) or SuffixMemory()
            self._memories[target] = memory
            while len(self._memories) > _MOST_MEMORIES:
                del self._memories[next(iter(self._memories))]
            return memory

    @property
    def runs(self) -> list[Run]:
        """The runs of the chat, its branches among them, oldest first."""
        return list(self._runs)

    @property
    def is_busy(self) -> bool:
        return any(not record.is_ended for record in self._runs)

    @property
    def last(self) -> Run | None:
        return self._runs[-1] if self._runs else None

    def shown(self, run_ids: Sequence[Any] | None) -> list[Run]:
        """The turns that a page shows, in their order, each in the branch that it shows; without a page
        that tells them, all runs of the chat."""
        if run_ids is None:
            return self.runs
        own = {record.run_id: record for record in self._runs}
        return [own[run_id] for run_id in map(str, run_ids) if run_id in own]

    def messages(self, system: str, turns: Sequence[Run], user_text: str) -> list[Message]:
        """The chat as the model reads it; turns without an answer are left out."""
        messages = [{"role": "system", "content": system}] if system.strip() else []
        for record in turns:
            answer = record.answer
            if answer:
                messages.append({"role": "user", "content": record.user_text})
                messages.append({"role": "assistant", "content": answer})
        return [*messages, {"role": "user", "content": user_text}]

    def append(self, record: Run) -> None:
        with self._lock:
            self._runs.append(record)

    def resume(self, records: Sequence[Run]) -> list[Run]:
        """Goes on with the turns that its page shows, in their order; returns those that are new.

        Turns that the page has not heard of yet come last.
        """
        with self._lock:
            own = {record.run_id: record for record in self._runs}
            shown = {record.run_id: own.get(record.run_id, record) for record in records}
            self._runs = list((shown | own).values())
        return [record for run_id, record in shown.items() if run_id not in own]

    def remove(self, record: Run) -> None:
        """Takes a run out of the chat."""
        with self._lock:
            self._runs = [own for own in self._runs if own is not record]

    def clear(self) -> list[str]:
        """Empties the chat; returns the ids of its runs."""
        with self._lock:
            run_ids = [record.run_id for record in self._runs]
            self._runs = []
        return run_ids

    def stop(self) -> None:
        """Asks the run in progress to end; it does so within one step."""
        for record in self._runs:
            record.stop.set()

    def stop_comparison(self) -> None:
        """Ends the comparison in progress."""
        if self.comparison is not None:
            self.comparison.stop()

    def stop_batch(self) -> None:
        """Ends all rows of the batch in progress."""
        for record in self.batch:
            record.stop.set()

    def stop_lab(self) -> None:
        """Ends the profiles in progress."""
        if self.lab is not None:
            self.lab.stop()

    def end_batch(self) -> list[str]:
        """Stops and forgets the rows of the last batch; returns their ids."""
        self.stop_batch()
        run_ids = [record.run_id for record in self.batch]
        self.batch = []
        return run_ids
