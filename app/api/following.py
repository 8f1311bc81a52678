"""The runs of a request, followed on the server's own thread while the engine's writes them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from app.api.choices import Choice, Failure, Piece
from app.runs.run import Run


class Followed:
    """Runs, and the choices that their events make. Made and read within a running loop."""

    def __init__(self, runs: Sequence[Run], num_logprobs: int | None):
        """See `Choice` for `num_logprobs`. The runs have not been started yet."""
        self.choices = [Choice(num_logprobs) for _ in runs]
        self._runs = runs
        self._firsts = [0] * len(runs)
        self._pieces: deque[tuple[int, Piece]] = deque()
        self._woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._woken.set)

        for run in runs:
            run.listen(wake)

    @property
    def failure(self) -> Failure | None:
        """Why the first of the choices that has no end has none."""
        failures = (choice.failure for choice in self.choices)
        return next((failure for failure in failures if failure is not None), None)

    async def begun(self) -> None:
        """Returns when a choice is under way or one has failed."""
        while not any(choice.is_prefilled or choice.is_ended for choice in self.choices):
            await self._read()

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """What the steps add, each with its choice's index, until all have ended or one has failed."""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if self.failure is not None or all(choice.is_ended for choice in self.choices):
                return
            await self._read()

    async def _read(self) -> None:
        """Waits for news and takes all that there is."""
        await self._woken.wait()
        self._woken.clear()
        for index, (run, choice) in enumerate(zip(self._runs, self.choices, strict=True)):
            events, is_over = run.news(self._firsts[index])
            self._firsts[index] += len(events)
            for event in events:
                piece = choice.add(event)
                if piece is not None:
                    self._pieces.append((index, piece))
            if is_over and not choice.is_ended:  # refused, or stopped before it began
                choice.failure = Failure(run.status_text, run.outcome.error if run.outcome else "")
