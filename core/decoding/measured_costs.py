"""T(n) of everything that an engine runs: measured when first asked for, and kept."""

from typing import NamedTuple

from core.backends.cost_curve import (
    CostCurve,
    Measurement,
    context_bucket,
    load_or_measure,
    measure,
)
from core.backends.runner import ModelRunner, TargetForward
from core.decoding.device.graph_runner_cache import GraphRunnerCache
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

        def measured(length: int) -> Measurement:
            own = runner.sibling(forward)
            return measure(own, length) if graphs is None else graphs.measure(own, length)

        if key not in self._curves:
            self._progress("measuring the cost of a forward", 0, 0)
            folder = cache_home() / "cost-curves"
            self._curves[key] = load_or_measure(folder, key, measured, bucket)
        return self._curves[key]
