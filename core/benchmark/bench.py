"""A loaded target with all runners of a comparison: what does its tasks, here or on a cluster."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.benchmark.comparison import Task, compare, warm_up
from core.benchmark.load import LoadTask, measure_load
from core.benchmark.meter import Meter
from core.benchmark.named_configs import NamedConfig
from core.benchmark.outside.engine_runners import outside_runners
from core.benchmark.outside.engines import OutsideEngine
from core.benchmark.outside.peer_target import peer_target
from core.benchmark.peer_pace import TEXT, PeerPace, fastest_paces
from core.benchmark.runners import EngineRunner, Facts, Runner
from core.decoding.run_start import Prompt
from core.drafters.suffix_memory import SuffixMemory
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_target
from core.models.sources import ModelSource, find_model
from core.models.tokenizer import read_tokenizer
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
    peer_paces: dict[str, PeerPace]
    """Of every other program, by its label."""


class Bench:
    """Implements `core.benchmark.executor.Worker`."""

    def __init__(self, plan: Plan, progress: Progress):
        """Loads and starts all that takes part; raises SpecDecodesError."""
        config = plan.configs[0].config
        source = find_model(config.target, progress)
        others = _other_runners(plan, source, progress)
        prompt = Prompt(TEXT, read_tokenizer(source)(TEXT).input_ids) if others else None
        alone = {} if prompt is None else fastest_paces(others, prompt)
        target = load_target(config, progress, source)
        self._engine = Engine(target, progress=progress, num_kept=len(plan.configs))
        own = _own_runners(self._engine, plan.configs)
        self._runners = [*own, *others]
        if prompt is not None:
            own[0].answer(prompt)
        inside = {} if prompt is None else fastest_paces(others, prompt)
        self._meter = Meter(find_energy_meter(target.device))
        self.description = BenchDescription(
            target.identity.to_dict(),
            describe_device(target.device),
            package_versions(),
            {runner.label: runner.facts for runner in self._runners},
            self._meter.energy.description,
            {
                label: PeerPace(pace, inside[label])
                for label, pace in alone.items()
                if pace and inside[label]
            },
        )
        self._is_warm = False

    def work(self, task: Task | LoadTask) -> Any:
        """The measurements of a task, or the loads of one of those; see `compare` and `measure_load`.
        Before the first task each runner answers once without being measured.

        Raises DrafterUnavailableError for one that cannot.
        """
        if not self._is_warm:
            warm_up(self._runners, self._engine.chat_prompt)
            self._is_warm = True
        if isinstance(task, LoadTask):
            texts = [question.turns[0] for question in task.questions]
            prompts = [
                self._engine.chat_prompt([{"role": "user", "content": one}]) for one in texts
            ]
            return measure_load(self._runners, task, prompts)
        return compare(self._runners, task, self._engine.chat_prompt, self._meter)


def _other_runners(plan: Plan, source: ModelSource, progress: Progress) -> list[Runner]:
    """They start before ours is loaded, and live as long."""
    if not plan.outside:
        return []
    config = plan.configs[0].config
    target = peer_target(source, config)
    return outside_runners(plan.outside, target, config, plan.draft, progress)


def _own_runners(engine: Engine, configs: Sequence[NamedConfig]) -> list[Runner]:
    for _, config in configs:
        reason = engine.unavailable_reason(config.mode, config.draft)
        if reason is not None:
            raise InvalidSettingError(reason)
    return [
        EngineRunner(engine, config, label=label, memory=SuffixMemory())
        for label, config in configs
    ]
