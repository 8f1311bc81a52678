"""T(n) of everything that an engine runs: measured when first asked for, and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from core.backends.cost_curve import (
    CostCurve,
    Measurement,
    context_bucket,
    load_kept,
    load_or_measure,
    measure,
)
from core.backends.runner import ModelRunner, TargetForward
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.drafters.base import CostOfRows
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.runtime.environment import describe_device, package_versions
from core.runtime.storage import Progress, cache_home
from core.runtime.strict_json import dumps


class Circumstances(NamedTuple):
    """What else a cost depends on, beside model and machine."""

    length: int
    """Of the context, in tokens."""
    place: str
    """Where the target's weights are."""
    graphs: GraphRunnerCache | None
    """Runs the forwards, where the device does the steps alone."""


class MeasuredCosts:
    """One engine's."""

    def __init__(self, target: LoadedModel, progress: Progress):
        self._target = target
        self._progress = progress
        self._curves: dict[str, CostCurve] = {}

    def curve(
        self,
        circumstances: Circumstances,
        runner: ModelRunner,
        forward: TargetForward,
        words: tuple[str, ...],
    ) -> CostCurve:
        """Of a forward on a runner's cache; the words tell what is computed."""
        graphs = circumstances.graphs
        key, bucket = self._key(circumstances, runner, forward, words)

        def measured(length: int) -> Measurement:
            own = runner.sibling(forward)
            return measure(own, length) if graphs is None else graphs.measure(own, length)

        if key not in self._curves:
            self._progress("measuring the cost of a forward", 0, 0)
            self._curves[key] = load_or_measure(_folder(), key, measured, bucket)
        return self._curves[key]

    def known(
        self, circumstances: Circumstances, runner: ModelRunner, forward: TargetForward
    ) -> CostCurve | None:
        """The same of the target's forward, if it was measured before; None where it was not."""
        key, bucket = self._key(circumstances, runner, forward, ())
        if key not in self._curves:
            kept = load_kept(_folder(), key, bucket)
            if kept is None:
                return None
            self._curves[key] = kept
        return self._curves[key]

    def _key(
        self,
        circumstances: Circumstances,
        runner: ModelRunner,
        forward: TargetForward,
        words: tuple[str, ...],
    ) -> tuple[str, int]:
        """All that a cost depends on, and the length of the context at which it is measured."""
        length, place, graphs = circumstances
        bucket = context_bucket(length, runner.context_limit)
        key = dumps(
            [
                model_key(self._target),
                str(self._target.dtype),
                describe_device(self._target.device),
                package_versions()["torch"],
                forward.name,
                "" if self._target.kernels is None else self._target.kernels.version,
                type(runner).__name__,
                place,
                "eager" if graphs is None else graphs.name,
                *words,
                bucket,
            ]
        )
        return key, bucket


def _folder() -> Path:
    return cache_home() / "cost-curves"


class RunCosts:
    """What one run's forwards cost. They run otherwise where the device decides the steps, which is
    known once the drafter is made; and only the host asks what a drafter's cost."""

    def __init__(
        self,
        costs: MeasuredCosts,
        circumstances: Circumstances,
        shared: Callable[[CostOfRows], CostOfRows],
    ):
        """`shared` makes of a cost a run's share in a batch."""
        self._costs = costs
        self._circumstances = circumstances
        self._shared = shared
        self._asked: list[LateCost] = []

    def curve(
        self, runner: ModelRunner, forward: TargetForward, words: tuple[str, ...] = ()
    ) -> CostCurve:
        """See `MeasuredCosts.curve`."""
        return self._costs.curve(self._circumstances, runner, forward, words)

    def known(self, runner: ModelRunner, forward: TargetForward) -> CostCurve | None:
        """See `MeasuredCosts.known`."""
        return self._costs.known(self._circumstances, runner, forward)

    def later(
        self, runner: ModelRunner, forward: TargetForward, words: tuple[str, ...]
    ) -> CostOfRows:
        """The cost of a drafter's forward, measured when it is settled who decides, or first looked
        up."""
        cost = LateCost(lambda: self._shared(self.curve(runner, forward, words)))
        self._asked.append(cost)
        return cost

    def settle(self, graphs: GraphRunnerCache | None) -> None:
        """Says who decides; what the host will look up is measured now, and not within a step."""
        self._circumstances = self._circumstances._replace(graphs=graphs)
        if graphs is None:
            for cost in self._asked:
                cost.measure()


class LateCost:
    """Seconds of a forward by its rows, measured by the first who looks."""

    def __init__(self, measured: Callable[[], CostOfRows]):
        self._measured = measured
        self._cost: CostOfRows | None = None

    def measure(self) -> CostOfRows:
        """The cost as it was measured, now or before."""
        if self._cost is None:
            self._cost = self._measured()
        return self._cost

    def __call__(self, rows: int) -> float:
        return self.measure()(rows)
