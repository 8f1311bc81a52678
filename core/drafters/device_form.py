"""How the device drafts for a drafter; every drafter says so itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

    from core.backends.cuda.forward import DeviceForward
    from core.backends.kv_cache import TreeCache
    from core.backends.runner import ModelRunner
    from core.backends.torch.forward import TorchForward
    from core.drafters.base import CostOfRows, DraftLimits, Outcome
    from core.drafters.device_drafting import DeviceDrafter
    from core.trees.tree import DraftTree


class DevicePlace(NamedTuple):
    """Where the levels of a draft are computed: beside one target's graphs, for all its sequences."""

    forward: Callable[[TorchForward, TreeCache], DeviceForward]
    """A forward of the drafter's over a cache."""
    target_cache: TreeCache
    own_cache: TreeCache | None
    """What stands for that of the drafter's own runner."""
    num_root_rows: int
    """Most rows of a sequence that a draft's first pass computes at once."""


class DeviceLevels(Protocol):
    """A drafter whose trees grow on the device, level by level."""

    @property
    def signature(self) -> Hashable:
        """Changes with its weights."""
        ...

    @property
    def own_runner(self) -> ModelRunner | None:
        """Who holds a cache of its own; None where it drafts on the target's."""
        ...

    @property
    def target_ids(self) -> torch.Tensor | None:  # [draft_vocab]
        """The target's id of every output; None where they are the same."""
        ...

    def on_device(self, place: DevicePlace) -> DeviceDrafter:
        """Its forwards there."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceForm:
    """What the device needs of a drafter, to do the steps of a run alone."""

    levels: DeviceLevels | None = None
    """Grows trees on the device; None where the host gives all of them."""
    most_depth: int | None = None
    """Levels that it can grow at most; None where only the settings say."""
    host_tree: Callable[[int, DraftLimits, CostOfRows | None], DraftTree | None] | None = None
    """A tree made on the host of token ids alone, as `Drafter.draft` does; None where it never
    makes one, and where it returns None the device grows it."""
    learn: Callable[[Outcome, bool, float], None] | None = None
    """Told of a judged tree, whether the device grew it, and of the seconds of its step."""
