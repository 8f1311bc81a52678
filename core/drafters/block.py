"""sd-block: a small network drafts a block of tokens in one pass from the target's hidden states.

The target's cache holds the hidden states of every committed token. A draft first writes those that are
new into the drafter's own cache; then the root and the mask tokens behind it are computed at once, and
forgotten after the verification.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from core.backends.cuda.forward import reason_against
from core.backends.runner import ModelRunner
from core.backends.torch.arithmetic import normalized
from core.backends.torch.forward import TorchForward
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.block_forward import BlockForward
from core.drafters.block_levels import BlockLevels
from core.drafters.block_levels_device import BlockLevelsOnDevice
from core.drafters.block_loading import load_block
from core.drafters.context import DrafterContext
from core.drafters.device_form import DeviceForm, DevicePlace
from core.drafters.draft_pass import DraftPass
from core.drafters.grown import GrownDrafter, KeptForward, always_of, kept_forward
from core.drafters.head_tensors import Published, named_or_shipped
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.modes.settings import SHIPPED_BLOCK
from core.runtime.storage import weights_sha256
from core.trees.tree import DraftTree

_PUBLISHED = Published("a block drafter", SHIPPED_BLOCK, "core.train.train_block")


class BlockDrafter(GrownDrafter):
    """Implements `core.drafters.base.ModelDrafter`."""

    name = "sd-block"

    def __init__(
        self,
        identity: dict[str, Any],
        forward: BlockForward,
        own: ModelRunner,
        target: ModelRunner,
        grower: TreeGrower[torch.Tensor],
    ):
        """`own` holds the drafter's cache, `target` the hidden states."""
        super().__init__(identity, own, grower)
        self.forward = forward
        self._target = target
        self._length = 0
        self._levels: BlockLevels | None = None

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`."""
        if reason_against(self.forward) is not None:
            return None
        levels = _Levels(self.own_runner, self.forward)
        return DeviceForm(levels, most_depth=self.forward.weights.num_drafts)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`; the target has computed its prompt before."""
        self._length = len(prompt_token_ids)
        self.own_runner.reserve(max_length)
        self.own_runner.cache.truncate(0)
        self._catch_up(1)

    def _catch_up(self, num_left: int) -> None:
        """Writes the states of committed rows that the cache lacks, but for the last `num_left`."""
        cache, states = self.own_runner.cache, self._target.cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        end = self._target.cache.length - num_left
        if cache.length < end:
            layers = self.forward.weights.state_layers
            new = states.of(layers, states.rows[cache.length : end])
            self.forward.write_context(cache, new)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        self._levels = None
        limits = limits._replace(depth=min(limits.depth, self.forward.weights.num_drafts))
        return self._grow(root_token_id, self._length, limits, cost, self._level)

    def _level(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits over the drafter's vocabulary; the first level's pass is that of all."""
        if self._levels is None:
            self._levels = self._block(rows)
        return self._levels(rows)

    def _block(self, rows: list[LevelRow]) -> BlockLevels:
        # Only here, for a draft that does not pay never comes so far.
        self._catch_up(0)
        cache, forward, weights = self.own_runner.cache, self.forward, self.forward.weights
        whole = DraftPass(
            self.own_runner,
            [rows[0].token_id],
            behind_root=[weights.mask_token_id] * (weights.block_size - 1),
            sees_behind=True,
        )
        start, skipped = cache.write_start, weights.block_size - weights.num_drafts
        logits, states = whole(rows)[skipped:], None
        if cache.hidden_states is not None:
            made = cache.hidden_states.rows[start + skipped : start + weights.block_size]
            states = normalized(made, forward.stack.final_norm, forward.shape.norm_eps)
        return BlockLevels(weights.markov, logits, states)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self.grower.learn(outcome)
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`; the next draft writes what was committed."""
        self._length += len(token_ids)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._levels = None


@dataclass(frozen=True, slots=True)
class _Levels:
    """Implements `core.drafters.device_form.DeviceLevels` on the drafter's cache."""

    own_runner: ModelRunner
    block: BlockForward

    @property
    def signature(self) -> Hashable:
        """See `DeviceLevels.signature`."""
        return "sd-block", id(self.block)

    @property
    def target_ids(self) -> torch.Tensor | None:
        """See `DeviceLevels.target_ids`."""
        return self.block.weights.target_ids

    def on_device(self, place: DevicePlace) -> BlockLevelsOnDevice:
        """See `DeviceLevels.on_device`."""
        assert place.own_cache is not None, "the drafter has one"
        return BlockLevelsOnDevice(
            place.forward(self.block, place.own_cache),
            self.block,
            place.own_cache,
            place.target_cache,
            place.num_root_rows,
        )


def make_block(context: DrafterContext) -> BlockDrafter:
    """The drafter for a run, in the folder that `draft` names, else the one shipped for the target.

    Raises DrafterUnavailableError where there is none, and for a drafter of another target.
    """
    target_forward = context.runner.forward
    assert isinstance(target_forward, TorchForward), "unavailable_reason comes first"
    runner, target = context.runner, context.target
    folder = named_or_shipped(context.config.draft, target, _PUBLISHED)

    def load() -> KeptForward[BlockForward]:
        return kept_forward(load_block(folder, target, target_forward), runner)

    forward, own = context.kept.get("block drafter", str(folder), load)
    weights, own_runner = forward.weights, context.own_runner(own)
    if weights.reads_states:
        size = forward.stack.final_norm.shape[-1]
        own_runner.keep_hidden_states((forward.shape.num_layers,), size)
    runner.keep_hidden_states(weights.state_layers, weights.target_size)
    draft_cost = context.draft_cost(own, forward, ("block", weights_sha256(folder)))
    if draft_cost is not None:
        # A pass has all rows of its block, however few of them are drafts.
        draft_cost = always_of(draft_cost, weights.block_size)
    return BlockDrafter(
        identity={
            "name": f"block drafter for {target.identity.name}",
            "method": BlockDrafter.name,
            "num_bytes": weights.num_bytes,
            "state_layers": list(weights.state_layers),
            "block_size": weights.block_size,
        },
        forward=forward,
        own=own_runner,
        target=runner,
        grower=context.grower(context.proposer(weights.target_ids), draft_cost, in_one_pass=True),
    )
