"""A loaded target with all runners of a comparison: what does its tasks, here or on a cluster."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.benchmark.comparison import Task, compare, warm_up
from core.benchmark.measurement import Measurement
from core.benchmark.meter import Meter
from core.benchmark.named_configs import NamedConfig
from core.benchmark.outside.engine_runners import outside_runners
from core.benchmark.outside.engines import OutsideEngine
from core.benchmark.runners import EngineRunner, Facts, Runner
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_target
from core.runtime.energy import find_energy_meter
from core.runtime.environment import describe_device, package_versions
from core.runtime.storage import Progress


class Plan(NamedTuple):
    """Who takes part in a comparison."""

    configs: Sequence[NamedConfig]
    """Plain decoding first."""
    outside: Sequence[OutsideEngine]
    draft: str | None = None
    """The draft model of other programs, where one is named."""


class BenchDescription(NamedTuple):
    """Machine, model and runners of a bench."""

    target: dict[str, Any]
    device: str
    versions: dict[str, str]
    facts: dict[str, Facts]
    """Of every runner, by its label."""
    energy: str
    """What counts it, or why nothing does."""


class Bench:
    """Implements `core.benchmark.executor.Worker`."""

    def __init__(self, plan: Plan, progress: Progress):
        """Loads and starts all that takes part; raises SpecDecodesError."""
        config = plan.configs[0].config
        target = load_target(config, progress)
        self._engine = Engine(target, progress=progress, num_kept=len(plan.configs))
        self._runners = _own_runners(self._engine, plan.configs)
        self._runners += outside_runners(plan.outside, target, config, plan.draft, progress)
        self._meter = Meter(find_energy_meter(target.device))
        self.description = BenchDescription(
            target.identity.to_dict(),
            describe_device(target.device),
            package_versions(),
            {runner.label: runner.facts for runner in self._runners},
            self._meter.energy.description,
        )
        self._is_warm = False

    def work(self, task: Task) -> list[Measurement]:
        """See `compare`. Before the first task each runner answers once without being measured.

        Raises DrafterUnavailableError for one that cannot.
        """
        if not self._is_warm:
            warm_up(self._runners, self._engine.chat_prompt)
            self._is_warm = True
        return compare(self._runners, task, self._engine.chat_prompt, self._meter)


def _own_runners(engine: Engine, configs: Sequence[NamedConfig]) -> list[Runner]:
    for _, config in configs:
        reason = engine.unavailable_reason(config.mode, config.draft)
        if reason is not None:
            raise InvalidSettingError(reason)
    return [EngineRunner(engine, config, label=label) for label, config in configs]
