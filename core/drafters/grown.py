"""What drafters share that grow trees by a runner of their own."""

from typing import Any, Generic, NamedTuple, TypeVar

import torch

from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.drafters.base import CostOfRows, DraftLimits
from core.drafters.device_form import DeviceForm
from core.drafters.tree_growth import Grower, LevelForward
from core.errors import BadLogitsError
from core.trees.tree import DraftTree

Forward = TypeVar("Forward", bound=TorchForward)


class GrownDrafter:
    """Implements the parts of `core.drafters.base.ModelDrafter` that do not hang on how it drafts."""

    reads_emitted = False
    """Whether a draft's first forward has a row for every token of the last step."""

    def __init__(self, identity: dict[str, Any], own: ModelRunner, grower: Grower):
        """`own` has the drafter's cache."""
        self.identity = identity
        self.own_runner = own
        self.grower = grower

    @property
    def drafting_s(self) -> float:
        return self.grower.drafting_s

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`: the host drafts, unless a drafter says otherwise."""
        return None

    def _grow(
        self,
        root_token_id: int,
        position: int,
        limits: DraftLimits,
        cost: CostOfRows | None,
        forward: LevelForward[torch.Tensor],
    ) -> DraftTree:
        """See `Grower.grow`; logits that are no numbers leave none in the cache."""
        try:
            return self.grower.grow(root_token_id, position, limits, cost, forward)
        except BadLogitsError:
            self.own_runner.clear()
            raise


class KeptForward(NamedTuple, Generic[Forward]):
    """A drafter's forward that is kept between runs."""

    forward: Forward
    own: ModelRunner
    """Holds its cache."""


def kept_forward(forward: Forward, target: ModelRunner) -> KeptForward[Forward]:
    """With a cache for texts as long as the target's."""
    shape, limit = forward.shape, target.context_limit
    return KeptForward(forward, ModelRunner(forward, shape, limit, target.dtype, target.device))


def always_of(cost: CostOfRows, rows: int) -> CostOfRows:
    """What a forward costs that has so many rows, however many are asked for."""
    return lambda _: cost(rows)
