"""Makes the loops of an engine's runs on the device, and keeps them for the next ones."""

import importlib.util
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from core.config import RunConfig
from core.drafter_settings import TreeSettings
from core.drafters.base import CostOfRows, Drafter
from core.drafters.calibration import Calibration, chances
from core.drafters.classic import ClassicDrafter
from core.drafters.eagle import EagleDrafter
from core.drafters.eagle_forward import EagleForward
from core.drafters.hybrid import HybridDrafter
from core.drafters.ngram import NgramDrafter
from core.drafters.proposals import BestProposer, NoisyProposer, Proposer, make_proposer
from core.drafters.self_draft import SelfDrafter
from core.lean.forward import LeanForward
from core.lean.weights import Shape
from core.models.loading import LoadedModel
from core.resident.attention import Attention, MaskedAttention
from core.resident.cost import SIZES, measure_resident
from core.resident.depth_choice import DepthChoice
from core.resident.drafting import (
    EagleLevels,
    OwnCacheDrafter,
    ResidentDrafter,
    SharedCacheDrafter,
)
from core.resident.forward import ResidentForward
from core.resident.growth import Choose
from core.resident.loop import Loop, bucket
from core.resident.pieces import Pieces
from core.resident.stepper import ResidentStepper
from core.runtime.cost_curve import Measurement
from core.runtime.triton_cache import provide_triton_cache
from core.sampling import KeyedNoise
from core.stepping import Clock
from core.verifier import TargetForward, Verifier

# Compute capability from which kernels overlap.
_OVERLAPPING_MAJOR = 9
# Each holds graphs and logits of its own.
_MOST_LOOPS = 4


def make_resident(target: LoadedModel, forward: TargetForward) -> "ResidentWorkshop | None":
    """For a target that was loaded to be compiled on a device; None for others."""
    if target.device.type == "cpu" or not target.is_compiled:
        return None
    if not isinstance(forward, LeanForward) or forward.num_token_ids < forward.shape.vocab_size:
        return None
    provide_triton_cache()
    return ResidentWorkshop(target.eos_token_ids, compile=has_triton())


def has_triton() -> bool:
    """Whether the kernels' language is installed."""
    return importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class _Model:
    """The drafter of a loop that grows its trees on the device."""

    drafter: ResidentDrafter
    target_ids: torch.Tensor | None = None  # [draft_vocab]
    """Of a head over a part of the vocabulary."""


class ResidentWorkshop:
    """One engine's."""

    def __init__(self, end_token_ids: frozenset[int], *, compile: bool):
        """`compile` lets torch.compile fuse what lies between the attentions."""
        self._end_token_ids = end_token_ids
        self._pieces = Pieces(compile=compile)
        self._loops: dict[Hashable, Loop] = {}

    @property
    def name(self) -> str:
        """What runs the forwards, for the trace."""
        return "compiled" if self._pieces.is_compiled else "resident"

    def reason_against(self, config: RunConfig) -> str | None:
        """Why the host must decide the steps of a run; None where the device can."""
        if config.invariant:
            return "shape-invariant execution has one shape, and no graphs"
        if config.accept != "match" and not config.sampling.is_greedy:
            return f"the device judges by the rule match, and accept is {config.accept}"
        return None

    def can_draft(self, drafter: Drafter | None) -> bool:
        """Whether the device can grow a drafter's trees, or takes them from the host."""
        model = drafter.model if isinstance(drafter, HybridDrafter) else drafter
        if isinstance(model, EagleDrafter):  # heads before EAGLE-3 have no norm of their states
            return model.forward.weights.state_norm is not None
        # The device asks nobody whether a token has a row.
        return not isinstance(model, ClassicDrafter) or model.reads_all_tokens

    def measure(self, own: Verifier, length: int) -> Measurement:
        """T(n) of a verifier's forward, over its cache."""
        forward = own.forward
        assert isinstance(forward, LeanForward), "only a lean forward is resident"
        own.reserve(length + SIZES[-1])
        own.cache.storage.zero_()
        state_norm = state_size = None
        if isinstance(forward, EagleForward):
            state_norm, state_size = forward.weights.state_norm, forward.weights.hidden_size
        resident = self.forward(forward, own, state_norm)
        return Measurement(measure_resident(resident, own.device, length, state_size), True)

    def stepper(
        self,
        verifier: Verifier,
        drafter: Drafter | None,
        config: RunConfig,
        max_length: int,
        clock: Clock,
        cost: CostOfRows | None,
    ) -> ResidentStepper:
        """Steps of one run of at most `max_length` tokens, over a loop made now or before."""
        verifier.reserve(max_length)
        model = drafter.model if isinstance(drafter, HybridDrafter) else drafter
        if isinstance(model, (ClassicDrafter, EagleDrafter)):
            model.own_verifier.reserve(max_length)
        is_grown = model is not None and not isinstance(model, NgramDrafter)
        settings = config.drafter
        depths = None
        if is_grown and isinstance(settings, TreeSettings):
            is_greedy = config.sampling.is_greedy
            depths = DepthChoice(settings, Calibration(prob_is_chance=is_greedy))
        return ResidentStepper(
            self._loop(verifier, model if is_grown else None, config),
            verifier,
            drafter,
            depths,
            config,
            end_token_ids=self._end_token_ids,
            clock=clock,
            cost=cost,
        )

    def _loop(self, verifier: Verifier, model: Any, config: RunConfig) -> Loop:
        forward = verifier.forward
        assert isinstance(forward, LeanForward), "only a lean forward is resident"
        key = (
            id(verifier.cache), id(forward.stack), config.sampling, config.trace_top_k,
            _signature(model), config.drafter,
        )  # fmt: skip
        if key in self._loops:
            self._loops[key] = self._loops.pop(key)
            return self._loops[key]
        self._forget_all_but(verifier)
        loop = Loop(
            self.forward(forward, verifier),
            verifier.cache,
            verifier.vocab_size,
            config.sampling,
            self._end_token_ids,
            config.trace_top_k,
            with_graphs=forward.is_static,
        )
        if model is not None:
            made = self._model(model, loop, config)
            loop.drafter = made.drafter
            proposer = make_proposer(config, verifier.vocab_size, loop.device)
            loop.choose = _chooser(proposer, config, verifier.vocab_size, loop, made.target_ids)
            loop.chances = partial(
                chances, tables=loop.state.calibration, prob_is_chance=proposer.prob_is_chance
            )
        self._loops[key] = loop
        return loop

    def _forget_all_but(self, verifier: Verifier) -> None:
        """Lets go loops over caches that are no longer there, and the oldest beyond the limit."""
        living = {key: loop for key, loop in self._loops.items() if loop.cache is verifier.cache}
        self._loops = dict(list(living.items())[-(_MOST_LOOPS - 1) :])

    def forward(
        self, forward: LeanForward, verifier: Verifier, state_norm: torch.Tensor | None = None
    ) -> ResidentForward:
        """A lean forward over a verifier's cache."""
        attention = _attention(forward.shape, verifier.device)
        return ResidentForward(forward, verifier.cache, self._pieces, attention, state_norm)

    def _model(self, model: Any, loop: Loop, config: RunConfig) -> _Model:
        num_root_rows = bucket(getattr(config.drafter, "depth", 1) + 1)
        if isinstance(model, SelfDrafter):
            assert isinstance(model.forward, LeanForward), "only a lean forward is resident"
            forward = self.forward(model.forward, model.verifier)
            return _Model(SharedCacheDrafter(forward, loop.state))
        own = model.own_verifier
        if isinstance(model, ClassicDrafter):
            forward = self.forward(own.forward, own)
            return _Model(OwnCacheDrafter(forward, loop.state, num_root_rows))
        assert isinstance(model, EagleDrafter)
        head = model.forward
        forward = self.forward(head, own, head.weights.state_norm)
        levels = EagleLevels(forward, head, loop.cache, loop.state, num_root_rows)
        return _Model(levels, head.weights.target_ids)


def _signature(model: Any) -> Hashable:
    """Changes with the weights and the cache of a drafter."""
    if model is None:
        return None
    if isinstance(model, SelfDrafter):
        stack = model.forward.stack  # type: ignore[attr-defined]
        return model.name, id(stack)
    return model.name, id(model.own_verifier.cache), id(model.own_verifier.forward)


def _attention(shape: Shape, device: torch.device) -> Attention:
    is_power = shape.head_dim & (shape.head_dim - 1) == 0
    if device.type != "cuda" or not is_power or shape.head_dim < 16 or not has_triton():
        return MaskedAttention()
    from core.resident.triton_attention import TritonAttention

    properties = torch.cuda.get_device_properties(device)
    return TritonAttention(
        shape.num_heads,
        shape.num_kv_heads,
        shape.head_dim,
        properties.multi_processor_count,
        overlaps=properties.major >= _OVERLAPPING_MAJOR,
    )


def _chooser(
    proposer: Proposer,
    config: RunConfig,
    vocab_size: int,
    loop: Loop,
    target_ids: torch.Tensor | None,
) -> Choose:
    """Children of rows as the run's law wants them, in the target's ids."""
    count = getattr(config.drafter, "branching", 1)
    if isinstance(proposer, BestProposer):

        def best(logits: torch.Tensor, level: int) -> tuple[torch.Tensor, torch.Tensor]:
            if target_ids is None:
                logits = logits[:, :vocab_size]
            ids, probs = proposer.choose(logits, count)
            return (ids if target_ids is None else target_ids[ids]), probs

        return best
    assert isinstance(proposer, NoisyProposer), "only the match rule is resident"
    noise = KeyedNoise(config.sampling.seed, vocab_size, loop.device)

    def noisy(logits: torch.Tensor, level: int) -> tuple[torch.Tensor, torch.Tensor]:
        if target_ids is not None:
            whole = logits.new_full((len(logits), vocab_size), -torch.inf)
            logits = whole.index_copy_(1, target_ids, logits)
        missing = vocab_size - logits.shape[-1]
        logits = F.pad(logits, (0, missing), value=-torch.inf)  # negative: cut off
        position = loop.state.length + 1 + level
        return proposer.choose(logits, noise.rows(position).log(), count)

    return noisy
