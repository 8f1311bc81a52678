"""Measures batches: the same prompts under each mode, in batches of each size."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from core.benchmark.named_configs import NamedConfig
from core.benchmark.task_progress import TaskProgress
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.errors import SpecDecodesError
from core.trace.events import Committed, Event, Prefilled, RunFailed, RunFinished
from core.trace.file import Trace

# A size is measured over so many prompts, or over one batch of its own.
_MIN_PROMPTS = 16
# On a device each size has graphs of its own, which are captured when they are used again.
_WARM_UPS, _FEWEST_WARM = 2, 4


class BatchResult(NamedTuple):
    """All prompts once, in batches of one size under one mode."""

    mode: str
    size: int
    repeat: int
    num_tokens: int
    seconds: float
    """Tokens of full batches, and how long they took."""
    acceptance_length: float
    """Tokens a step, over all sequences."""
    num_identical: int
    """Sequences with the ids of plain decoding."""
    num_sequences: int

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.seconds


def measure(
    engine: Engine,
    prompts: Sequence[Prompt],
    named: Sequence[NamedConfig],
    sizes: Sequence[int],
    repeats: int,
) -> list[BatchResult]:
    """Every mode and size in turn, plain decoding first in each round."""
    results = []
    plain = answers(engine, prompts, named[0].config, sizes[-1])[0]
    with TaskProgress("batches", repeats * len(sizes) * len(named)) as progress:
        for repeat in range(1, repeats + 1):
            for size in sizes:
                for label, config in named:
                    results.append(_result(engine, prompts, plain, label, config, size, repeat))
                    progress.advance(f"{label}, {size} side by side")
    return results


class Window(NamedTuple):
    """What full batches emitted."""

    num_tokens: int
    seconds: float


def answers(
    engine: Engine, prompts: Sequence[Prompt], config: RunConfig, size: int
) -> tuple[list[Trace], Window]:
    """The traces of all prompts, one batch after the other; raises SpecDecodesError."""
    traces = [Trace() for _ in prompts]
    windows = []
    for first in range(0, len(prompts), size):
        batch = prompts[first : first + size]
        watch = _Watch(len(batch) if len(batch) == size else 0)
        for index, event in engine.run_batch([(prompt, config) for prompt in batch], size):
            traces[first + index].events.append(event)
            watch.see(index, event)
            if isinstance(event, RunFailed):
                raise SpecDecodesError(f"{config.mode} in a batch of {size}: {event.message}")
        windows.append(watch.window)
    return traces, Window(
        sum(window.num_tokens for window in windows), sum(window.seconds for window in windows)
    )


class _Watch:
    """Finds the window of a batch in which all its sequences decode, in whole rounds."""

    def __init__(self, num_sequences: int):
        """None is waited for where the batch is not full."""
        self.window = Window(0, 0.0)
        self._num_unread = num_sequences
        self._num_tokens = 0
        self._start_s = 0.0
        self._is_open = False

    def see(self, index: int, event: Event) -> None:
        """Takes an event as it comes; those of a round come in the sequences' order."""
        match event:
            case Prefilled():
                self._num_unread -= 1
                self._is_open = self._num_unread == 0
                self._start_s = time.perf_counter()
            case Committed() if self._is_open:
                if index == 0:  # the rounds before this one are whole
                    seconds = time.perf_counter() - self._start_s
                    self.window = Window(self._num_tokens, seconds)
                self._num_tokens += len(event.token_ids)
            case RunFinished():
                self._is_open = False


def _result(
    engine: Engine,
    prompts: Sequence[Prompt],
    plain: Sequence[Trace],
    label: str,
    config: RunConfig,
    size: int,
    repeat: int,
) -> BatchResult:
    """Over as many prompts as full batches take, and no fewer than `_MIN_PROMPTS`."""
    count = max(size, _MIN_PROMPTS // size * size)
    if engine.target.device.type != "cpu":
        for _ in range(_WARM_UPS):
            answers(engine, prompts[: max(size, _FEWEST_WARM)], config, size)
    traces, window = answers(engine, prompts[:count], config, size)
    all_stats = [trace.stats for trace in traces]
    num_steps = sum(stats.num_steps for stats in all_stats)
    pairs = zip(traces, plain, strict=False)
    return BatchResult(
        mode=label,
        size=size,
        repeat=repeat,
        num_tokens=window.num_tokens,
        seconds=window.seconds,
        acceptance_length=sum(stats.num_tokens for stats in all_stats) / num_steps,
        num_identical=sum(own.token_ids == other.token_ids for own, other in pairs),
        num_sequences=len(traces),
    )
