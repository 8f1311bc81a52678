"""Drafts by a cheaper version of the target on the target's own KV cache.

Share-SD drafts with the quantized self, layer skipping with a part of the layers. Both are a
forward of their own over another stack of weights (`TorchForward.with_stack`), which shares norms,
embedding and every layer that stays as it is with the target: drafting and verifying switch between
the two by which forward they call, on one cache. What a draft writes there lies behind the
committed tokens, and the verification of the same step writes over it: the committed cache never
holds a drafter's numbers.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from core.backends.runner import ModelRunner, TargetForward
from core.backends.torch.forward import TorchForward
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.device_drafting import SharedCacheDrafter
from core.drafters.device_form import DeviceForm, DevicePlace
from core.drafters.draft_pass import DraftPass
from core.drafters.tree_growth import Grower, TreeGrower
from core.errors import BadLogitsError
from core.loading.loading import LoadedModel
from core.trees.tree import DraftTree


def parts_reason(mode: str, target: LoadedModel) -> str | None:
    """Why a mode cannot draft with a target's layers; None where each is whole in one place."""
    if target.num_gpus == 1:
        return None
    return (
        f"mode {mode} drafts with the target's own layers, which {target.num_gpus} GPUs share out; "
        "leave tensor_parallel out, or give another mode."
    )


@dataclass(frozen=True, slots=True)
class _Levels:
    """Implements `core.drafters.device_form.DeviceLevels` on the target's cache."""

    signature: Hashable
    forward: TorchForward
    own_runner: None = None
    target_ids: None = None

    def on_device(self, place: DevicePlace) -> SharedCacheDrafter:
        """See `DeviceLevels.on_device`."""
        return SharedCacheDrafter(place.forward(self.forward, place.target_cache))


class SelfDrafter:
    """Implements `core.drafters.base.ModelDrafter` over the target's runner."""

    reads_emitted = False
    """Whether a draft's first forward has a row for every token of the last step."""

    def __init__(
        self,
        name: str,
        identity: dict[str, Any],
        runner: ModelRunner,
        forward: TargetForward,
        grower: TreeGrower[torch.Tensor],
    ):
        self.name = name
        self.identity = identity
        self.runner = runner
        self.forward = forward
        self.grower: Grower = grower

    @property
    def drafting_s(self) -> float:
        return self.grower.drafting_s

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`."""
        if not isinstance(self.forward, TorchForward):
            return None
        stack = self.forward.stack
        # Of one selection of layers every run has a stack of its own.
        layers = tuple(map(id, stack.layers)) if self.forward.is_static else id(stack)
        return DeviceForm(_Levels((self.name, layers), self.forward))

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`; the cache is the target's."""

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        position = self.runner.cache.length + 1
        level_forward = DraftPass(self.runner, [root_token_id], self.forward)
        try:
            return self.grower.grow(root_token_id, position, limits, cost, level_forward)
        except BadLogitsError:
            self.runner.cache.wipe(self.runner.cache.length)
            raise

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self.grower.learn(outcome)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`; the cache follows by itself."""

    def finish(self) -> None:
        """See `Drafter.finish`."""
