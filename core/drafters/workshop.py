"""What the makers of drafters work with: the target, what is kept between runs, measuring."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from core.config import RunConfig
from core.drafters.base import CostOfRows
from core.drafters.proposals import Proposer, make_proposer
from core.errors import DrafterUnavailableError
from core.models.loading import LoadedModel
from core.models.storage import Progress
from core.quant.offload import OriginalWeights
from core.verifier import TargetForward, Verifier

T = TypeVar("T")


class KeptParts:
    """Quantized weights, draft models and the like: one of each sort, kept between runs."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[Hashable, Any]] = {}

    def get(self, sort: str, key: Hashable, make: Callable[[], T]) -> T:
        """The part of a sort for a key. Another key's part is let go before the new one is made.

        Raises DrafterUnavailableError where memory does not suffice; then nothing is kept.
        """
        if sort in self._parts and self._parts[sort][0] == key:
            return cast(T, self._parts[sort][1])
        self._parts.pop(sort, None)
        try:
            part = make()
        except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise DrafterUnavailableError(
                f"the {sort} does not fit into memory beside the target; choose a smaller one, "
                "offload the original weights, or close other programs."
            ) from error
        self._parts[sort] = (key, part)
        return part

    def drop(self, sort: str) -> None:
        """Lets the part of a sort go."""
        self._parts.pop(sort, None)


# Seconds by rows of a forward on the verifier's cache; the words tell what is computed.
MeasureCost = Callable[[Verifier, TargetForward, tuple[str, ...]], CostOfRows]


@dataclass(frozen=True, slots=True)
class Workshop:
    """One run's view of the engine."""

    config: RunConfig
    target: LoadedModel
    verifier: Verifier
    """The target's, whose cache a self-draft shares."""
    originals: OriginalWeights | None
    """The target's own weights; None where the lean forward cannot compute it."""
    kept: KeptParts
    measure_cost: MeasureCost
    load_draft: Callable[[str], LoadedModel]
    folder: Path
    """Where what takes long to make is kept on disk."""
    progress: Progress

    def proposer(self) -> Proposer:
        """The way of choosing children that fits the run."""
        return make_proposer(self.config, self.verifier.vocab_size, self.target.device)
