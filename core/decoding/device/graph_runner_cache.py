"""Makes what does the steps of an engine's runs on the device, and keeps it for the next ones."""

import importlib.util
from collections.abc import Callable, Hashable
from dataclasses import replace

import torch
import torch.nn.functional as F

from core.acceptance.registry import rule_of
from core.acceptance.sampling import KeyedNoise
from core.backends.cost_curve import Measurement
from core.backends.cuda.attention import Attention, MaskedAttention
from core.backends.cuda.cost import SIZES, measure_on_device
from core.backends.cuda.forward import ComputesRows, DeviceForward, reason_against
from core.backends.cuda.parallel import ParallelDeviceForward, Sums, add_on_host
from core.backends.cuda.pieces import Pieces
from core.backends.runner import ModelRunner, TargetForward
from core.backends.torch.forward import TorchForward
from core.backends.torch.parallel import ParallelForward
from core.config import RunConfig
from core.decoding.device.graph_runner import GraphRunner
from core.decoding.device.stepper import DeviceStepper
from core.decoding.step import Clock
from core.drafters.base import CostOfRows, Drafter
from core.drafters.calibration import Calibration
from core.drafters.device_form import DeviceForm, DeviceLevels, DevicePlace
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
        self._end_token_ids = end_token_ids
        self._pieces = Pieces(compile=compile)
        self._graph_runners: dict[Hashable, GraphRunner] = {}
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
        on_device = self._target_forward(forward, own)
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
    ) -> DeviceStepper:
        """Steps of one run of at most `max_length` tokens, on a graph runner made now or before."""
        form = DeviceForm() if drafter is None else drafter.device_form
        assert form is not None, "the host does the steps of others"
        runner.reserve(max_length)
        levels, settings = form.levels, config.drafter
        growths = None
        if levels is not None:
            if levels.own_runner is not None:
                levels.own_runner.reserve(max_length)
            if isinstance(settings, TreeSettings):
                is_greedy = config.sampling.is_greedy
                most = min(settings.depth, form.most_depth or settings.depth)
                calibration = Calibration(prob_is_chance=is_greedy)
                growths = GrowthChoice(replace(settings, depth=most), calibration)
        return DeviceStepper(
            self._graph_runner(runner, levels, config),
            runner,
            drafter,
            form,
            growths,
            config,
            end_token_ids=self._end_token_ids,
            clock=clock,
            cost=cost,
        )

    def _graph_runner(
        self, runner: ModelRunner, levels: DeviceLevels | None, config: RunConfig
    ) -> GraphRunner:
        forward = _torch_forward(runner)
        key = (
            id(runner.cache), id(forward.stack), config.sampling, config.trace_top_k,
            None if levels is None else levels.signature, config.drafter,
        )  # fmt: skip
        if key in self._graph_runners:
            self._graph_runners[key] = self._graph_runners.pop(key)
            return self._graph_runners[key]
        self._forget_all_but(runner)
        graph_runner = GraphRunner(
            self._target_forward(forward, runner),
            runner.cache,
            runner.vocab_size,
            resolved(rule_of(config.accept, is_greedy=config.sampling.is_greedy).device_form),
            config.sampling,
            self._end_token_ids,
            config.trace_top_k,
            with_graphs=forward.is_static,
        )
        if levels is not None:
            num_root_rows = bucket(getattr(config.drafter, "depth", 1) + 1)
            graph_runner.drafter = levels.on_device(
                DevicePlace(self._forward, graph_runner.cache, graph_runner.state, num_root_rows)
            )
            proposer = make_proposer(config, runner.vocab_size, graph_runner.device)
            graph_runner.choose = _chooser(
                proposer, config, runner.vocab_size, graph_runner, levels.target_ids
            )
            graph_runner.select = _selection_of(graph_runner.device)(
                graph_runner.calibration.tables, proposer.prob_is_chance
            )
        self._graph_runners[key] = graph_runner
        return graph_runner

    def _forget_all_but(self, runner: ModelRunner) -> None:
        """Lets go those over caches that are no longer there, and the oldest beyond the limit."""
        living = {key: one for key, one in self._graph_runners.items() if one.cache is runner.cache}
        self._graph_runners = dict(list(living.items())[-(_MOST_RUNNERS - 1) :])

    def _target_forward(self, forward: TorchForward, runner: ModelRunner) -> ComputesRows:
        """A forward over a runner's cache, on however many devices."""
        if not isinstance(forward, ParallelForward):
            return self._forward(forward, runner)
        if self._sums is None:
            self._sums = _sums_for(forward, runner)
        return ParallelDeviceForward(
            forward,
            runner.cache,
            self._pieces,
            lambda part, device: attention_of(part.shape, device),
            self._sums,
        )

    def _forward(self, forward: TorchForward, runner: ModelRunner) -> DeviceForward:
        """A forward of ours over a runner's cache."""
        attention = attention_of(forward.shape, runner.device)
        return DeviceForward(forward, runner.cache, self._pieces, attention)


def has_kernels(device: torch.device) -> bool:
    """Whether what Triton compiles runs on the device."""
    return device.type == "cuda" and has_triton()


def _sums_for(forward: ParallelForward, runner: ModelRunner) -> Sums:
    """What adds up what its devices make, in rows of the largest tree."""
    if runner.device.type == "cpu":
        return add_on_host
    from core.backends.cuda.kernels.sums import SumsOnAll

    hidden = forward.stack.final_norm.shape[-1]
    return SumsOnAll(forward.devices, runner.dtype, MOST_ROWS * hidden * runner.dtype.itemsize)


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
    graph_runner: GraphRunner,
    target_ids: torch.Tensor | None,
) -> Choose:
    """Children of rows as the run's acceptance rule wants them, in the target's ids."""
    count = getattr(config.drafter, "branching", 1)
    if isinstance(proposer, BestProposer):
        if has_kernels(graph_runner.device):
            from core.drafters.tree_growth_kernels import best_of_rows

            size = vocab_size if target_ids is None else len(target_ids)
            return lambda logits, level: best_of_rows(logits, min(count, size), size, target_ids)

        def best(logits: torch.Tensor, level: int) -> tuple[torch.Tensor, torch.Tensor]:
            if target_ids is None:
                logits = logits[:, :vocab_size]
            ids, probs = proposer.choose(logits, count)
            return (ids if target_ids is None else target_ids[ids]), probs

        return best
    assert isinstance(proposer, NoisyProposer), "only the match rule has a form for the device"
    noise = KeyedNoise(config.sampling.seed, vocab_size, graph_runner.device)

    def noisy(logits: torch.Tensor, level: int) -> tuple[torch.Tensor, torch.Tensor]:
        if target_ids is not None:
            whole = logits.new_full((len(logits), vocab_size), -torch.inf)
            logits = whole.index_copy_(1, target_ids, logits)
        missing = vocab_size - logits.shape[-1]
        logits = F.pad(logits, (0, missing), value=-torch.inf)  # negative: cut off
        position = graph_runner.state.length + 1 + level
        return proposer.choose(logits, noise.rows(position).log(), count)

    return noisy
