"""What the makers of drafters work with: the target, what is kept between runs, measuring."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from core.acceptance.corrections import Corrections
from core.backends.runner import ModelRunner, TargetForward
from core.config import RunConfig
from core.drafters.base import CostOfRows
from core.drafters.proposals import CorrectedProposer, Proposer, ReducedProposer, make_proposer
from core.drafters.suffix_memory import MemoryView
from core.drafters.tree_growth import Chooser, TreeGrower
from core.errors import DrafterUnavailableError
from core.loading.loading import LoadedModel
from core.modes.settings import TreeSettings, as_chains
from core.quant.offload import OriginalWeights
from core.runtime.storage import Progress

T = TypeVar("T")


class KeptParts:
    """Quantized weights, draft models and the like, kept between runs."""

    def __init__(self, num_kept: int = 1) -> None:
        """`num_kept` of each sort stay, those that were used last."""
        self._num_kept = num_kept
        self._parts: dict[str, dict[Hashable, Any]] = {}

    def get(self, sort: str, key: Hashable, make: Callable[[], T]) -> T:
        """The part of a sort for a key. Where there is no room, the one that was used longest ago
        is let go before the new one is made.

        Raises DrafterUnavailableError where memory does not suffice; then nothing is kept.
        """
        parts = self._parts.setdefault(sort, {})
        if key in parts:
            parts[key] = parts.pop(key)
            return cast(T, parts[key])
        while len(parts) >= self._num_kept:
            del parts[next(iter(parts))]
        try:
            part = make()
        except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise DrafterUnavailableError(
                f"the {sort} does not fit into memory beside the target; choose a smaller one, "
                "offload the original weights, or close other programs."
            ) from error
        parts[key] = part
        return part


# Seconds by rows of a forward on the runner's cache; the words tell what is computed.
MeasureCost = Callable[[ModelRunner, TargetForward, tuple[str, ...]], CostOfRows]


@dataclass(frozen=True, slots=True)
class DrafterContext:
    """One run's view of the engine."""

    config: RunConfig
    target: LoadedModel
    runner: ModelRunner
    """The target's, whose cache a self-draft shares."""
    originals: OriginalWeights | None
    """The target's own weights; None where our own forward cannot compute it."""
    kept: KeptParts
    measure_cost: MeasureCost
    load_draft: Callable[[str], LoadedModel]
    folder: Path
    """Where what takes long to make is kept on disk."""
    progress: Progress
    own_runner: Callable[[ModelRunner], ModelRunner]
    """The runner that a run has for itself, of one that is kept between runs."""
    is_alone: bool
    """Whether no other run shares its forwards."""
    corrections: Corrections | None
    """What the settings change of the target's logits, kept up to date by who does the steps."""
    memory: MemoryView | None = None
    """The earlier answers that lookup searches, where the run asks for them."""
    num_given: int = 0
    """Tokens with which the answer begins, which no step chooses."""

    @property
    def settings(self) -> TreeSettings:
        """Those of a mode that grows trees."""
        settings = self.config.drafter
        assert isinstance(settings, TreeSettings)
        return settings

    def proposer(self, target_ids: torch.Tensor | None = None) -> Proposer:
        """The way of choosing children that fits the run, of the whole vocabulary or of these ids."""
        proposer = make_proposer(
            self.config, self.runner.vocab_size, self.target.device, self.num_given
        )
        if self.corrections is not None:
            proposer = CorrectedProposer(proposer, self.corrections)
        if target_ids is None:
            return proposer
        return ReducedProposer(proposer, target_ids, self.runner.vocab_size)

    def draft_cost(
        self, runner: ModelRunner, forward: TargetForward, words: tuple[str, ...]
    ) -> CostOfRows | None:
        """What a drafter's forward costs, for sizes by cost; None where they are fixed."""
        return None if self.settings.fixed_size else self.measure_cost(runner, forward, words)

    def grower(
        self,
        proposer: Chooser[torch.Tensor],
        draft_cost: CostOfRows | None,
        *,
        in_one_pass: bool = False,
        can_branch: bool = True,
    ) -> TreeGrower[torch.Tensor]:
        """Grows the run's trees; see `TreeGrower`. Without `can_branch` they are chains."""
        return TreeGrower(
            self.settings if can_branch else as_chains(self.settings),
            proposer,
            draft_cost,
            in_one_pass=in_one_pass,
            learns_pace=self.is_alone,
        )
