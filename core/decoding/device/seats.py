"""The places of one batch, whose sequences take their steps on the device together."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch

from core.backends.runner import SPARE_COLUMNS, ModelRunner
from core.backends.torch.forward import TorchForward
from core.config import RunConfig
from core.decoding.device.graph_runner_cache import (
    GraphRunnerCache,
    Pool,
    graph_key,
    has_triton,
    levels_of,
    shared_steps,
)
from core.decoding.device.shared_steps import LANES, SharedSteps, lanes_for
from core.decoding.device.stepper import DeviceStepper, Place, Wait
from core.decoding.step import Clock
from core.drafters.base import CostOfRows, Drafter
from core.trees.tensors import bucket

# Of all sequences together, for each has logits over the whole vocabulary.
_MOST_ROWS = 8192
# Columns of a region are a multiple of these.
_REGION_STEP = 64


@dataclass(frozen=True, slots=True)
class Seat:
    """A run's place."""

    steps: SharedSteps
    region: int
    free: list[int]
    """Regions of all who left."""
    end_token_ids: frozenset[int]

    def stepper(
        self,
        wait: Wait,
        runner: ModelRunner,
        drafter: Drafter | None,
        config: RunConfig,
        clock: Clock,
        cost: CostOfRows | None,
    ) -> DeviceStepper:
        """The run's steps; `wait` lets those beside it go on until the next one is there."""
        return DeviceStepper(
            self.steps,
            wait,
            runner,
            drafter,
            config,
            place=Place(self.region, lambda: self.free.append(self.region)),
            end_token_ids=self.end_token_ids,
            clock=clock,
            cost=cost,
        )


class Seats:
    """Gives places. Runs that cannot share graphs with those that are there are left to the host."""

    def __init__(
        self,
        graphs: GraphRunnerCache,
        size: int,
        longest: int,
        clock: Clock,
    ):
        """For at most `size` runs at a time; the longest has so many tokens, as far as that is known."""
        self._graphs = graphs
        self._size = size
        self._longest = longest
        self._clock = clock
        self._pool: Pool | None = None
        self._steps: SharedSteps | None = None
        self._key: Hashable = None
        self._free: list[int] = []

    def seat(
        self, runner: ModelRunner, drafter: Drafter | None, config: RunConfig, max_length: int
    ) -> Seat | str:
        """A place for a run that begins now, whose caches are made; else why the host must decide its
        steps."""
        reason = self._reason_against(runner, drafter, config)
        if reason is not None:
            return reason
        levels = levels_of(drafter)
        own_runner = None if levels is None else levels.own_runner
        key, pool, steps = graph_key(runner, levels, config), self._pool, self._steps
        if steps is None or pool is None or not steps.num_seats:
            longest = max(max_length, min(self._longest, runner.context_limit))
            columns = _columns(longest, config)
            self._pool = self._steps = None
            try:
                pool = self._graphs.pool(runner, levels, config, lanes_for(self._size), columns)
            except torch.OutOfMemoryError:
                return "the caches of so many sequences do not fit into the memory of the device"
            steps = shared_steps(pool.graph_runner, drafter, config, self._clock)
            self._pool, self._steps, self._key = pool, steps, key
            self._free = list(range(self._size))
        if key != self._key:
            return "it has other settings than the runs beside it"
        if _columns(max_length, config) > pool.capacity:
            return "it may become longer than the runs beside it have room for"
        region = self._free.pop()
        for its, cache in ((runner, pool.caches.target), (own_runner, pool.caches.own)):
            if its is not None and cache is not None:
                its.sit(cache.region(region * pool.capacity, pool.capacity))
                its.cache.wipe(0)  # of numbers that a run before may have left
        return Seat(steps, region, self._free, self._graphs.end_token_ids)

    def _reason_against(
        self, runner: ModelRunner, drafter: Drafter | None, config: RunConfig
    ) -> str | None:
        forward = runner.forward
        assert isinstance(forward, TorchForward), "only a forward of ours is captured"
        if self._size > LANES[-1]:
            return f"the device decides for at most {LANES[-1]} sequences together"
        if runner.device.type == "cuda" and not has_triton():
            # torch's attention would look through the caches of all sequences for each one.
            return "the attention of several sequences together needs Triton"
        if not forward.is_static:
            return "weights that are not in the device's memory are read for one sequence at a time"
        rows = bucket(getattr(config.drafter, "num_nodes", 0) + 1)
        if lanes_for(self._size) * rows > _MOST_ROWS:
            return f"trees of {rows} rows are too large for so many sequences together"
        if drafter is not None and config.draft_failure == "plain":
            return "a drafter that breaks is given up for one sequence alone"
        return None


def _columns(max_length: int, config: RunConfig) -> int:
    """Columns of a region for so many tokens: with a tree, and with up to two steps behind the end,
    which a run takes beside those that go on."""
    depth = getattr(config.drafter, "depth", 0)
    columns = max_length + SPARE_COLUMNS + 2 * (depth + 1)
    return -(-columns // _REGION_STEP) * _REGION_STEP
