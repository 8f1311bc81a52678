"""Puts the answers of runs into a memory, from their events; opens without torch."""

from collections.abc import Iterable, Iterator

from core.drafters.suffix_memory import SuffixMemory
from core.trace.events import Committed, Event, RunFailed, RunFinished, RunStarted


class _Collector:
    """Hears of the events of one run; its answer is remembered when it ends, however it does."""

    def __init__(self, memory: SuffixMemory):
        self._memory = memory
        self._token_ids: list[int] = []

    def add(self, event: Event) -> None:
        """Takes over the next event."""
        if isinstance(event, RunStarted) and event.memory is not None:
            self._memory.tokenizer = event.memory["tokenizer"]
            self._token_ids += event.prefix_token_ids
        elif isinstance(event, Committed):
            self._token_ids += event.token_ids
        elif isinstance(event, RunFinished | RunFailed):
            self._memory.add(self._token_ids)


def remembered(events: Iterable[Event], memory: SuffixMemory) -> Iterator[Event]:
    """The same events; the memory has the answer before its end is told."""
    collector = _Collector(memory)
    for event in events:
        collector.add(event)
        yield event


def all_remembered(
    events: Iterable[tuple[int, Event]], memory: SuffixMemory, count: int
) -> Iterator[tuple[int, Event]]:
    """The same events of `count` runs, each with its run's place; see `remembered`."""
    collectors = [_Collector(memory) for _ in range(count)]
    for place, event in events:
        collectors[place].add(event)
        yield place, event
