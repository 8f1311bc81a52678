"""Runs side by side: which forwards are joined, who waits for whom, and how they end."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import pytest
import torch

from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock
from core.backends.runner import compute_at_once
from core.decoding.batch import MOST_ROWS_TOGETHER, BatchScheduler, Start
from core.trace.events import Event, Prefilled

VOCABULARY = 4


class Recorder:
    """A forward that notes what it is given: the logits of a row are its token id."""

    name = "recorder"

    def __init__(self, key: str = "same", breaks_at: int | None = None):
        self.pack_key: Hashable = key
        self.calls: list[list[list[int]]] = []
        self._breaks_at = breaks_at

    def reserve(self, num_positions: int) -> None: ...

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        self.calls.append([block.token_ids.tolist() for block in blocks])
        if len(self.calls) == self._breaks_at:
            raise RuntimeError("out of luck")
        token_ids = torch.cat([block.token_ids for block in blocks])
        return token_ids[:, None].repeat(1, VOCABULARY).float() if want_logits else None


def lockstep_of(size: int, target: str = "target") -> BatchScheduler:
    return BatchScheduler(size, Recorder(target))


def block(*token_ids: int) -> RowBlock:
    cache = TreeCache(1, 1, 1, 1, torch.float32, torch.device("cpu"))
    return RowBlock(torch.tensor(token_ids), torch.tensor(token_ids), cache, None)


def told(step: int) -> Event:
    return Prefilled(
        step=step, t_start_s=0.0, t_end_s=0.0, num_tokens=0, num_reused=0, cache_length=0
    )


def asks(
    scheduler: BatchScheduler, forward: Recorder, wishes: Sequence[Sequence[int]], **options: Any
) -> Iterator[Event]:
    """A run that asks for forwards and tells after each what came back."""
    for wish in wishes:
        logits = scheduler.compute(forward, block(*wish), **{"want_logits": True, **options})
        assert logits is None or logits[:, 0].tolist() == list(wish)
        yield told(wish[0])


def steps(events: Iterator[tuple[int, Event]]) -> list[tuple[int, int]]:
    return [(index, event.step) for index, event in events]


def test_forwards_that_are_asked_for_together_are_computed_together() -> None:
    scheduler, forward = lockstep_of(3), Recorder()
    runs = [[(1,), (2, 3)], [(4,)], [(5,), (6,), (7,)]]
    events = scheduler.run([lambda run=run: asks(scheduler, forward, run) for run in runs])
    assert steps(events) == [(0, 1), (1, 4), (2, 5), (0, 2), (2, 6), (2, 7)]
    assert forward.calls == [[[1], [4], [5]], [[2, 3], [6]], [[7]]]


def test_at_most_so_many_run_and_one_begins_when_another_has_ended() -> None:
    scheduler, forward = lockstep_of(2), Recorder()
    events = scheduler.run(
        [lambda run=run: asks(scheduler, forward, run) for run in ([(1,)], [(2,), (3,)], [(4,)])]
    )
    assert steps(events) == [(0, 1), (1, 2), (1, 3), (2, 4)]
    assert forward.calls == [[[1], [2]], [[3], [4]]]


def test_runs_that_come_while_others_go_on_are_computed_with_them() -> None:
    scheduler, forward = lockstep_of(2), Recorder()
    coming: list[list[tuple[int, ...]]] = [[(1,), (2,), (3,)]]
    asked_at: list[int] = []

    def next_start() -> Start | None:
        asked_at.append(len(forward.calls))
        if not coming:
            return None
        run = coming.pop(0)
        return lambda: asks(scheduler, forward, run)

    told_steps = []
    for index, event in scheduler.run_joining(next_start):
        told_steps.append((index, event.step))
        if told_steps == [(0, 1)]:
            coming += [[(4,)], [(5,)]]
    assert told_steps == [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5)]
    assert forward.calls == [[[1]], [[2]], [[3], [4]], [[5]]]
    assert asked_at[-1] == 4, "with nothing running nobody came"


def test_other_weights_and_unwanted_logits_are_other_passes() -> None:
    scheduler = lockstep_of(4)
    first, second = Recorder("a"), Recorder("b")
    runs = [(first, True), (second, True), (first, False), (first, True)]
    events = scheduler.run(
        [
            lambda forward=forward, want=want: asks(scheduler, forward, [(1,)], want_logits=want)
            for forward, want in runs
        ]
    )
    assert len(steps(events)) == 4
    assert first.calls == [[[1], [1]], [[1]]] and second.calls == [[[1]]]


def test_the_target_waits_for_all_drafts() -> None:
    scheduler = lockstep_of(2, target="target")
    target, drafter = Recorder("target"), Recorder("drafter")

    def drafts(count: int) -> Iterator[Event]:
        for _ in range(2):
            yield from asks(scheduler, drafter, [(1,)] * count)
            yield from asks(scheduler, target, [(7, 8)])

    assert len(steps(scheduler.run([lambda: drafts(1), lambda: drafts(3)]))) == 12
    assert target.calls == [[[7, 8], [7, 8]]] * 2
    assert [len(call) for call in drafter.calls] == [2, 1, 1] * 2


def test_prompts_do_not_wait_for_others() -> None:
    scheduler = lockstep_of(2)
    target = Recorder("target")

    def prompt() -> Iterator[Event]:
        yield from asks(scheduler, target, [(1,), (2,)], want_logits=False)

    list(scheduler.run([prompt, lambda: asks(scheduler, target, [(3,)])]))
    assert target.calls == [[[1]], [[2]], [[3]]]


def test_a_pass_has_no_more_rows_than_allowed() -> None:
    scheduler, forward = lockstep_of(3), Recorder()
    wide = tuple(range(MOST_ROWS_TOGETHER // 2))
    list(scheduler.run([lambda: asks(scheduler, forward, [wide])] * 3))
    assert [len(call) for call in forward.calls] == [2, 1]


def test_a_pass_that_breaks_breaks_in_each_run_that_waits_for_it() -> None:
    scheduler, forward, other = lockstep_of(3), Recorder("a", breaks_at=1), Recorder("b")
    caught: list[str] = []

    def careful() -> Iterator[Event]:
        try:
            yield from asks(scheduler, forward, [(1,)])
        except RuntimeError as error:
            caught.append(str(error))
            yield told(9)

    events = scheduler.run([careful, careful, lambda: asks(scheduler, other, [(1,), (2,)])])
    assert sorted(steps(events)) == [(0, 9), (1, 9), (2, 1), (2, 2)]
    assert caught == ["out of luck"] * 2


def test_a_reader_that_stops_ends_every_run() -> None:
    scheduler, forward = lockstep_of(2), Recorder()
    ended: list[int] = []

    def endless(index: int) -> Iterator[Event]:
        try:
            while True:
                yield from asks(scheduler, forward, [(index,)])
        finally:
            ended.append(index)

    events = scheduler.run([lambda: endless(0), lambda: endless(1), lambda: endless(2)])
    next(events)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert sorted(ended) == [0, 1], "the third never began"


def test_a_cost_is_that_of_the_rows_of_all_present_runs() -> None:
    scheduler, forward = lockstep_of(3), Recorder()
    cost = scheduler.shared(float)
    assert cost(5) == 5.0
    seen: list[float] = []

    def looks(count: int) -> Iterator[Event]:
        for event in asks(scheduler, forward, [(0,)] * count):
            seen.append(cost(1))
            yield event

    list(scheduler.run([lambda: looks(1), lambda: looks(2), lambda: looks(2)]))
    assert seen[0] == 3.0 and seen[-1] == 2.0


def test_outside_of_a_run_a_forward_is_computed_at_once() -> None:
    forward = Recorder()
    logits = lockstep_of(2).compute(forward, block(3), want_logits=True)
    expected = compute_at_once(forward, block(3), want_logits=True)
    assert logits is not None and expected is not None and torch.equal(logits, expected)


@pytest.mark.parametrize("count", [0, 1])
def test_few_runs_are_a_batch_too(count: int) -> None:
    scheduler, forward = lockstep_of(4), Recorder()
    events = scheduler.run([lambda: asks(scheduler, forward, [(1,)])] * count)
    assert steps(events) == [(0, 1)] * count
