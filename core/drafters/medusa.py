"""sd-medusa: heads on the target's last state draft, one a token ahead (Medusa, Hydra, 2024).

The target's cache holds the state of every committed token. The heads of Medusa read that of the last
one, and each says the token at its own distance; those of Hydra also read the tokens between.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from core.backends.runner import PREFILL_CHUNK, ModelRunner
from core.backends.torch.forward import TorchForward
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.context import DrafterContext
from core.drafters.device_form import DeviceForm, DevicePlace
from core.drafters.grown import GrownDrafter, KeptForward, always_of, kept_forward
from core.drafters.head_tensors import named_folder
from core.drafters.medusa_heads import DepthStates, MedusaForward
from core.drafters.medusa_levels_device import MedusaLevelsOnDevice
from core.drafters.medusa_loading import load_medusa
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.trees.tree import DraftTree


class MedusaDrafter(GrownDrafter):
    """Implements `core.drafters.base.ModelDrafter`."""

    reads_emitted = True
    name = "sd-medusa"

    def __init__(
        self,
        identity: dict[str, Any],
        forward: MedusaForward,
        own: ModelRunner,
        target: ModelRunner,
        grower: TreeGrower[torch.Tensor],
    ):
        """`own` holds the cache of the layer in front of the heads, `target` the hidden states."""
        super().__init__(identity, own, grower)
        self.forward = forward
        self._target = target
        self._token_ids: list[int] = []
        self._exchange = DepthStates()
        self._read = torch.empty(0)  # [rows, width]: what heads have read of the last level
        self._first_row = 0  # of that level, among all rows of this draft

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`: without a layer in front of the heads."""
        if self.forward.stack.layers:
            return None
        return DeviceForm(_Levels(self.forward), most_depth=len(self.forward.weights.heads))

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`; the target has computed its prompt before."""
        self._token_ids = prompt_token_ids.copy()
        self.own_runner.reserve(max_length)
        self.own_runner.cache.truncate(0)
        self.own_runner.cache.head_states = self._exchange
        self._catch_up(1)

    def _catch_up(self, num_left: int) -> None:
        """Runs the layer in front of the heads over committed rows until at most `num_left` are to be
        done; without one there is nothing to be done but the last."""
        total = self._target.cache.length
        # A draft may be asked for again.
        if not self.forward.stack.layers or self.own_runner.cache.length == total:
            self.own_runner.cache.truncate(max(0, total - 1))
        while total - self.own_runner.cache.length > num_left:
            count = min(total - self.own_runner.cache.length - num_left, PREFILL_CHUNK // 2)
            self._unseen(count, want_logits=False)

    def _unseen(self, count: int, *, want_logits: bool) -> torch.Tensor | None:
        """Computes the next rows of states and takes them over."""
        start = self.own_runner.cache.length
        causal = torch.ones(count, count, dtype=torch.bool).tril()
        states = self._target.cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        layers = (self.forward.weights.state_layer,)
        given = states.of(layers, states.rows[start : start + count])
        self._exchange.given = self.forward.normed(given)
        self._exchange.depth = 0
        token_ids = self._token_ids[start + 1 : start + 1 + count]
        positions = range(start, start + count)
        logits = self.own_runner.forward_rows(token_ids, positions, causal, want_logits=want_logits)
        self.own_runner.cache.truncate(start + count)
        return logits

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`. Without a committed token there is no state to draft from."""
        self._catch_up(PREFILL_CHUNK // 2)
        if self.own_runner.cache.length == self._target.cache.length:
            return DraftTree(root_token_id)
        limits = limits._replace(depth=min(limits.depth, len(self.forward.weights.heads)))
        return self._grow(root_token_id, len(self._token_ids), limits, cost, self._level)

    def _level(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits of a level's rows."""
        depth = rows[0].depth
        if depth == 0:
            count = self._target.cache.length - self.own_runner.cache.length
            logits = self._unseen(count, want_logits=True)
            assert logits is not None
            self._read, self._first_row = self._exchange.made[-1:], 0
            return self.own_runner.in_float32(logits[-1:])
        first = self._first_row
        if self.forward.weights.reads_tokens:
            parents, computed = [row.parent_row - first for row in rows], rows
        else:  # what Medusa's heads say hangs on no token drafted before
            parents, computed = [0], rows[:1]
        self._exchange.given, self._exchange.depth = self._read[parents], depth
        token_ids = [row.token_id for row in computed]
        logits = self.own_runner.forward_rows(token_ids, [0] * len(computed), None)
        assert logits is not None
        self._first_row += len(self._read)
        self._read = self._exchange.made
        return self.own_runner.in_float32(logits).expand(len(rows), -1)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self.grower.learn(outcome)
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`; the next draft reads what was committed."""
        self._token_ids += token_ids

    def finish(self) -> None:
        """See `Drafter.finish`."""


@dataclass(frozen=True, slots=True)
class _Levels:
    """Implements `core.drafters.device_form.DeviceLevels` on the target's states alone."""

    heads: MedusaForward
    own_runner: None = None
    target_ids: None = None

    @property
    def signature(self) -> Hashable:
        """See `DeviceLevels.signature`."""
        return MedusaDrafter.name, id(self.heads)

    def on_device(self, place: DevicePlace) -> MedusaLevelsOnDevice:
        """See `DeviceLevels.on_device`."""
        return MedusaLevelsOnDevice(self.heads, place.target_cache)


def make_medusa(context: DrafterContext) -> MedusaDrafter:
    """The drafter for a run, in the folder that `draft` names.

    Raises DrafterUnavailableError where there is none, and for heads of another target.
    """
    target_forward = context.runner.forward
    assert isinstance(target_forward, TorchForward), "unavailable_reason comes first"
    folder, runner = named_folder(context.config.draft, "Medusa or Hydra heads"), context.runner

    def load() -> KeptForward[MedusaForward]:
        return kept_forward(load_medusa(folder, context.target, target_forward), runner)

    forward, own = context.kept.get("set of Medusa heads", str(folder), load)
    weights = forward.weights
    runner.keep_hidden_states((weights.state_layer,), weights.hidden_size)
    draft_cost = context.draft_cost(own, forward, ("medusa", f"{weights.num_bytes} bytes"))
    if draft_cost is not None and not weights.reads_tokens:
        draft_cost = always_of(draft_cost, 1)  # of a level, whatever its width
    return MedusaDrafter(
        identity={
            "name": f"{'Hydra' if weights.reads_tokens else 'Medusa'} heads for "
            f"{context.target.identity.name}",
            "method": MedusaDrafter.name,
            "num_bytes": weights.num_bytes,
            "num_heads": len(weights.heads),
        },
        forward=forward,
        own=context.own_runner(own),
        target=runner,
        grower=context.grower(context.proposer(), draft_cost),
    )
