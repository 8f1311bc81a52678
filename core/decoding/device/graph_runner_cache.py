"""Makes what does the steps of an engine's runs on the device, and keeps it for the next ones."""

import importlib.util
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F

from core.acceptance.device import SequenceStates
from core.acceptance.registry import rule_of
from core.acceptance.sampling import KeyedNoise
from core.backends.cost_curve import Measurement
from core.backends.cuda.attention import Attention, MaskedAttention
from core.backends.cuda.cost import SIZES, measure_on_device
from core.backends.cuda.forward import ComputesRows, DeviceForward, reason_against
from core.backends.cuda.parallel import ParallelDeviceForward, Sums, add_on_host
from core.backends.cuda.pieces import Pieces
from core.backends.kv_cache import TreeCache
from core.backends.runner import ModelRunner, TargetForward
from core.backends.torch.forward import TorchForward
from core.backends.torch.parallel import ParallelForward
from core.config import RunConfig
from core.decoding.device.graph_runner import GraphRunner
from core.decoding.device.shared_steps import SharedSteps
from core.decoding.device.stepper import DeviceStepper, Place, Wait
from core.decoding.step import Clock
from core.drafters.base import CostOfRows, Drafter
from core.drafters.calibration import Calibration
from core.drafters.device_drafting import repeated
from core.drafters.device_form import DeviceLevels, DevicePlace
from core.drafters.growth_choice import GrowthChoice
from core.drafters.proposals import BestProposer, NoisyProposer, Proposer, make_proposer
from core.drafters.tree_growth_device import Choose, Select, TorchSelection
from core.families.architecture import Architecture
from core.loading.loading import LoadedModel
from core.modes.registry import resolved
from core.modes.settings import TreeSettings
from core.runtime.triton_cache import provide_triton_cache
from core.trees.tensors import MOST_ROWS, bucket

# Compute capability from which kernels overlap.
_OVERLAPPING_MAJOR = 9
# Each holds graphs and logits of its own.
_MOST_RUNNERS = 4


def make_graph_runner_cache(
    target: LoadedModel, forward: TargetForward
) -> "GraphRunnerCache | None":
    """For a target that was loaded to be compiled on a device; None for others."""
    if target.device.type == "cpu" or not target.is_compiled:
        return None
    if reason_against(forward) is not None:
        return None
    provide_triton_cache()
    return GraphRunnerCache(target.eos_token_ids, compile=has_triton())


def has_triton() -> bool:
    """Whether the kernels' language is installed."""
    return importlib.util.find_spec("triton") is not None


class GraphRunnerCache:
    """One engine's."""

    def __init__(self, end_token_ids: frozenset[int], *, compile: bool):
        """`compile` lets torch.compile fuse what lies between the attentions."""
        self.end_token_ids = end_token_ids
        self._pieces = Pieces(compile=compile)
        self._graph_runners: dict[Hashable, GraphRunner] = {}
        self._pool: Pool | None = None
        self._sums: Sums | None = None
        """Where the target is on several devices."""

    @property
    def name(self) -> str:
        """What runs the forwards, for the trace."""
        return "compiled" if self._pieces.is_compiled else "resident"

    def reason_against(self, config: RunConfig) -> str | None:
        """Why the host must decide the steps of a run; None where the device can."""
        if config.invariant:
            return "shape-invariant execution has one shape, and no graphs"
        if rule_of(config.accept, is_greedy=config.sampling.is_greedy).device_form is None:
            return f"the rule {config.accept} has no form for the device"
        if config.sampling.corrections:
            return f"only the host corrects logits by {', '.join(config.sampling.corrections)}"
        return None

    def measure(self, own: ModelRunner, length: int) -> Measurement:
        """T(n) of a runner's forward, over its cache."""
        own.reserve(length + SIZES[-1])
        own.cache.wipe(0)
        forward = _torch_forward(own)
        on_device = self._target_forward(forward, own.cache)
        seconds = measure_on_device(on_device, own.cache.devices, length, forward.state_size)
        return Measurement(seconds, True)

    def stepper(
        self,
        runner: ModelRunner,
        drafter: Drafter | None,
        config: RunConfig,
        max_length: int,
        clock: Clock,
        cost: CostOfRows | None,
        wait: Wait,
    ) -> DeviceStepper:
        """Steps of one run of at most `max_length` tokens, on a graph runner made now or before."""
        runner.reserve(max_length)
        levels = levels_of(drafter)
        own_cache = None
        if levels is not None and levels.own_runner is not None:
            levels.own_runner.reserve(max_length)
            own_cache = levels.own_runner.cache
        caches = _Caches(runner.cache, own_cache)
        key = (*map(id, caches), *graph_key(runner, levels, config))
        if key in self._graph_runners:
            self._graph_runners[key] = self._graph_runners.pop(key)
        else:
            self._forget_all_but(runner)
            self._graph_runners[key] = self._made(caches, runner, levels, config)
        steps = shared_steps(self._graph_runners[key], drafter, config, clock)
        return DeviceStepper(
            steps,
            wait,
            runner,
            drafter,
            config,
            place=Place(),
            end_token_ids=self.end_token_ids,
            clock=clock,
            cost=cost,
        )

    def pool(
        self,
        runner: ModelRunner,
        levels: DeviceLevels | None,
        config: RunConfig,
        num_lanes: int,
        capacity: int,
    ) -> "Pool":
        """Caches for so many sequences of at most `capacity` columns, and their graph runner: those of
        the last batch, where they are such."""
        key = (num_lanes, *graph_key(runner, levels, config))
        pool = self._pool
        if pool is not None and pool.key == key and pool.capacity >= capacity:
            return pool
        self._pool = pool = None  # the old memory goes before the new one comes
        num_columns = capacity * (num_lanes if num_lanes == 1 else num_lanes + 1)
        runner.forward.reserve(capacity)
        own_cache = None
        if levels is not None and levels.own_runner is not None:
            own_cache = levels.own_runner.new_cache(num_columns)
            levels.own_runner.forward.reserve(capacity)
        caches = _Caches(runner.new_cache(num_columns), own_cache)
        made = self._made(caches, runner, levels, config, num_lanes)
        self._pool = Pool(key, capacity, caches, made)
        return self._pool

    def _made(
        self,
        caches: "_Caches",
        runner: ModelRunner,
        levels: DeviceLevels | None,
        config: RunConfig,
        num_lanes: int = 1,
    ) -> GraphRunner:
        forward = _torch_forward(runner)
        graph_runner = GraphRunner(
            self._target_forward(forward, caches.target),
            caches.target,
            runner.vocab_size,
            resolved(rule_of(config.accept, is_greedy=config.sampling.is_greedy).device_form),
            config.sampling,
            self.end_token_ids,
            config.trace_top_k,
            with_graphs=forward.is_static,
            num_lanes=num_lanes,
        )
        if levels is not None:
            num_root_rows = bucket(getattr(config.drafter, "depth", 1) + 1)
            graph_runner.drafter = levels.on_device(
                DevicePlace(self._forward, caches.target, caches.own, num_root_rows)
            )
            proposer = make_proposer(config, runner.vocab_size, graph_runner.device)
            graph_runner.choose = _chooser(
                proposer, config, runner.vocab_size, graph_runner.device, levels.target_ids
            )
            graph_runner.select = _selection_of(graph_runner.device)(
                graph_runner.calibration.tables, proposer.prob_is_chance
            )
        return graph_runner

    def _forget_all_but(self, runner: ModelRunner) -> None:
        """Lets go those over caches that are no longer there, and the oldest beyond the limit."""
        living = {key: one for key, one in self._graph_runners.items() if one.cache is runner.cache}
        self._graph_runners = dict(list(living.items())[-(_MOST_RUNNERS - 1) :])

    def _target_forward(self, forward: TorchForward, cache: TreeCache) -> ComputesRows:
        """A forward over a cache, on however many devices."""
        if not isinstance(forward, ParallelForward):
            return self._forward(forward, cache)
        if self._sums is None:
            self._sums = _sums_for(forward, cache)
        return ParallelDeviceForward(
            forward,
            cache,
            self._pieces,
            lambda part, device: attention_of(part.shape, device),
            self._sums,
        )

    def _forward(self, forward: TorchForward, cache: TreeCache) -> DeviceForward:
        """A forward of ours over a cache."""
        attention = attention_of(forward.shape, cache.storage.device)
        return DeviceForward(forward, cache, self._pieces, attention)


class _Caches(NamedTuple):
    target: TreeCache
    own: TreeCache | None
    """The drafter's, where it has one."""


class Pool(NamedTuple):
    """Caches of several sequences, each with a region of its own, and what does their steps."""

    key: Hashable
    capacity: int
    """Of a region."""
    caches: _Caches
    graph_runner: GraphRunner


def shared_steps(
    graph_runner: GraphRunner, drafter: Drafter | None, config: RunConfig, clock: Clock
) -> SharedSteps:
    """The steps of runs with these settings."""
    form = None if drafter is None else drafter.device_form
    settings, growths = config.drafter, None
    if form is not None and form.levels is not None and isinstance(settings, TreeSettings):
        most = min(settings.depth, form.most_depth or settings.depth)
        calibration = Calibration(prob_is_chance=config.sampling.is_greedy)
        growths = GrowthChoice(replace(settings, depth=most), calibration)
    return SharedSteps(graph_runner, growths, config, clock)


def levels_of(drafter: Drafter | None) -> DeviceLevels | None:
    """How the device drafts for a drafter, level by level; None where it does not."""
    form = None if drafter is None else drafter.device_form
    return None if form is None else form.levels


def graph_key(
    runner: ModelRunner, levels: DeviceLevels | None, config: RunConfig
) -> tuple[Hashable, ...]:
    """Equal for runs that can share graphs: the seed alone may be another."""
    return (
        id(_torch_forward(runner).stack),
        replace(config.sampling, seed=0),
        config.trace_top_k,
        None if levels is None else levels.signature,
        config.drafter,
    )


def has_kernels(device: torch.device) -> bool:
    """Whether what Triton compiles runs on the device."""
    return device.type == "cuda" and has_triton()


def _sums_for(forward: ParallelForward, cache: TreeCache) -> Sums:
    """What adds up what its devices make, in rows of the largest tree."""
    if cache.storage.device.type == "cpu":
        return add_on_host
    from core.backends.cuda.kernels.sums import SumsOnAll

    hidden = forward.stack.final_norm.shape[-1]
    dtype = cache.storage.dtype
    return SumsOnAll(forward.devices, dtype, MOST_ROWS * hidden * dtype.itemsize)


def _selection_of(device: torch.device) -> Callable[[torch.Tensor, bool], Select]:
    if not has_kernels(device):
        return TorchSelection
    from core.drafters.tree_growth_kernels import KernelSelection

    return KernelSelection


def _torch_forward(runner: ModelRunner) -> TorchForward:
    assert isinstance(runner.forward, TorchForward), "only a forward of ours is captured"
    return runner.forward


def attention_of(shape: Architecture, device: torch.device) -> Attention:
    """What attends fast on a device."""
    if not has_kernels(device):
        return MaskedAttention(shape)
    from core.backends.cuda.triton_attention import TritonAttention

    properties = torch.cuda.get_device_properties(device)
    overlaps = properties.major >= _OVERLAPPING_MAJOR
    return TritonAttention(shape, properties.multi_processor_count, overlaps=overlaps)


def _chooser(
    proposer: Proposer,
    config: RunConfig,
    vocab_size: int,
    device: torch.device,
    target_ids: torch.Tensor | None,
) -> Choose:
    """Children of rows as the run's acceptance rule wants them, in the target's ids."""
    count = getattr(config.drafter, "branching", 1)
    if isinstance(proposer, BestProposer):
        if has_kernels(device):
            from core.drafters.tree_growth_kernels import best_of_rows

            size = vocab_size if target_ids is None else len(target_ids)
            return lambda logits, level, state: best_of_rows(
                logits, min(count, size), size, target_ids
            )

        def best(
            logits: torch.Tensor, level: int, state: SequenceStates
        ) -> tuple[torch.Tensor, torch.Tensor]:
            if target_ids is None:
                logits = logits[:, :vocab_size]
            ids, probs = proposer.choose(logits, count)
            return (ids if target_ids is None else target_ids[ids]), probs

        return best
    assert isinstance(proposer, NoisyProposer), "only the match rule has a form for the device"
    noise = KeyedNoise(0, vocab_size, device)  # the sequences have seeds of their own

    def noisy(
        logits: torch.Tensor, level: int, state: SequenceStates
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if target_ids is not None:
            whole = logits.new_full((len(logits), vocab_size), -torch.inf)
            logits = whole.index_copy_(1, target_ids, logits)
        missing = vocab_size - logits.shape[-1]
        logits = F.pad(logits, (0, missing), value=-torch.inf)  # negative: cut off
        log_noise = noise.rows(state.length + 1 + level, state.seed_key).log()
        log_noise = repeated(log_noise, len(logits) // len(log_noise))
        return proposer.choose(logits, log_noise, count)

    return noisy
