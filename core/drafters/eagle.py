"""EAGLE: a small head drafts from the target's hidden states (Li et al. 2024, 2025).

The target's cache holds the hidden states of every committed token. A draft first runs the head
over what was committed since the last one, with the target's own states; then level by level with
the states that the head makes itself. Those rows are forgotten afterwards.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from core.backends.cuda.forward import reason_against
from core.backends.kv_cache import HeadStates
from core.backends.runner import PREFILL_CHUNK, ModelRunner
from core.backends.torch.forward import TorchForward
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.context import DrafterContext
from core.drafters.device_drafting import EagleLevels
from core.drafters.device_form import DeviceForm, DevicePlace
from core.drafters.draft_pass import DraftPass
from core.drafters.eagle_forward import EagleForward
from core.drafters.eagle_gguf import is_head_file
from core.drafters.eagle_loading import load_head
from core.drafters.grown import GrownDrafter, KeptForward, kept_forward
from core.drafters.head_tensors import Published, named_or_shipped
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.modes.settings import SHIPPED_HEAD
from core.runtime.storage import weights_sha256
from core.trees.tree import DraftTree

_PUBLISHED = Published(
    "an EAGLE head", SHIPPED_HEAD, "core.train.train_eagle", "folder or .gguf file", is_head_file
)


class EagleDrafter(GrownDrafter):
    """Implements `core.drafters.base.ModelDrafter`."""

    reads_emitted = True

    def __init__(
        self,
        name: str,
        identity: dict[str, Any],
        forward: EagleForward,
        own: ModelRunner,
        target: ModelRunner,
        grower: TreeGrower[torch.Tensor],
    ):
        """`own` holds the head's cache, `target` the hidden states."""
        super().__init__(identity, own, grower)
        self._mask = forward.weights.mask
        self.name = name
        self.forward = forward
        self._target = target
        self._depth = grower.settings.depth
        self._token_ids: list[int] = []
        self._pass: DraftPass | None = None
        self._states = torch.empty(0)  # [rows of this draft, hidden]
        self._levels = torch.empty(0)  # [levels, vocab] of a draft in one pass
        self._exchange = HeadStates()

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`."""
        forward = self.forward
        if not forward.weights.is_usual or reason_against(forward) is not None:
            return None
        return DeviceForm(_Levels(self.own_runner, self.forward))

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`; the target has computed its prompt before."""
        self._token_ids = prompt_token_ids.copy()
        self.own_runner.reserve(max_length)
        self.own_runner.cache.truncate(0)
        self.own_runner.cache.head_states = self._exchange
        self._pass = None
        self._catch_up(1)

    def _catch_up(self, num_left: int) -> None:
        """Runs the head over committed rows until at most `num_left` are to be done."""
        while (count := self._target.cache.length - self.own_runner.cache.length) > num_left:
            count = min(count - num_left, PREFILL_CHUNK // 2)
            start = self.own_runner.cache.length
            self.own_runner.cache.write_start = start
            causal = torch.ones(count, count, dtype=torch.bool).tril()
            self._exchange.given = self._fused(start, count)
            token_ids = self._token_ids[start + 1 : start + 1 + count]
            positions = range(start, start + count)
            self.own_runner.forward_rows(token_ids, positions, causal, want_logits=False)
            self.own_runner.cache.truncate(start + count)

    @torch.inference_mode()
    def _fused(self, start: int, count: int) -> torch.Tensor:
        states = self._target.cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        return self.forward.fused(
            states.of(self.forward.weights.state_layers, states.rows[start : start + count])
        )

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`. Without a committed token there is no state to draft from."""
        self._pass = None
        depth = min(self._depth, limits.depth)
        self._catch_up(PREFILL_CHUNK // 2)
        start = self.own_runner.cache.length
        count = self._target.cache.length - start
        if count < 1:
            return DraftTree(root_token_id)
        behind = [] if self._mask is None else [self._mask.token_id] * (depth - 1)
        self._pass = DraftPass(self.own_runner, self._token_ids[start + 1 :], behind_root=behind)
        position = len(self._token_ids)
        return self._grow(root_token_id, position, limits, cost, self._level_forward)

    def _level_forward(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits over the head's vocabulary; keeps what the head made of each row, or, of a draft in one
        pass, the logits of all levels."""
        assert self._pass is not None
        if self._pass.paths:
            if self._mask is not None:
                return self._levels[rows[0].depth].repeat(len(rows), 1)
            self._exchange.given = self._states[[row.parent_row for row in rows]]
            logits = self._pass(rows)
            self._states = torch.cat([self._states, self._exchange.made])
            return logits
        # Only here, for a draft that does not pay never comes so far.
        given = self._fused(self.own_runner.cache.length, self._pass.num_before_root + 1)
        if self._mask is not None:
            count = len(self._pass.behind_root)
            given = torch.cat([given, self._mask.state.expand(count, -1)])
        self._exchange.given = given
        self._levels = self._pass(rows)
        self._states = self._exchange.made[-1:]
        return self._levels[:1]

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`: rows with the target's own states stay, up to the root's."""
        self.grower.learn(outcome)
        if self._pass is not None and self._pass.paths:
            count = self._pass.num_before_root + 1
            self.own_runner.cache.truncate(self.own_runner.cache.length + count)
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`; the next draft runs over what was committed."""
        self._pass = None
        self._token_ids += token_ids

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._pass = None


@dataclass(frozen=True, slots=True)
class _Levels:
    """Implements `core.drafters.device_form.DeviceLevels` on the head's cache."""

    own_runner: ModelRunner
    head: EagleForward

    @property
    def signature(self) -> Hashable:
        """See `DeviceLevels.signature`."""
        return "sd-eagle", id(self.head)

    @property
    def target_ids(self) -> torch.Tensor | None:
        """See `DeviceLevels.target_ids`."""
        return self.head.weights.target_ids

    def on_device(self, place: DevicePlace) -> EagleLevels:
        """See `DeviceLevels.on_device`."""
        assert place.own_cache is not None, "the head has one"
        forward = place.forward(self.head, place.own_cache)
        return EagleLevels(forward, self.head, place.target_cache, place.num_root_rows)


def make_eagle(context: DrafterContext) -> EagleDrafter:
    """The drafter for a run; its head is named by `draft`, else the one shipped for the target.

    Raises DrafterUnavailableError where there is none, and for a head of another target.
    """
    target_forward = context.runner.forward
    assert isinstance(target_forward, TorchForward), "unavailable_reason comes first"
    runner = context.runner
    path = named_or_shipped(context.config.draft, context.target, _PUBLISHED)

    def load() -> KeptForward[EagleForward]:
        return kept_forward(load_head(path, context.target, target_forward), runner)

    head = context.kept.get("EAGLE head", str(path), load)
    return eagle_drafter(
        context,
        head,
        name="sd-eagle",
        what=f"EAGLE head for {context.target.identity.name}",
        key=("eagle", weights_sha256(path)),
    )


def eagle_drafter(
    context: DrafterContext,
    head: KeptForward[EagleForward],
    *,
    name: str,
    what: str,
    key: tuple[str, ...],
) -> EagleDrafter:
    """The drafter of a run with a head; `name` is that of the mode, `what` what a trace calls the head,
    and `key` changes with what it computes."""
    runner, weights = context.runner, head.forward.weights
    runner.keep_hidden_states(weights.state_layers, weights.target_size)
    return EagleDrafter(
        name=name,
        identity={
            "name": what,
            "method": name,
            "num_bytes": weights.num_bytes,
            "state_layers": list(weights.state_layers),
        },
        forward=head.forward,
        own=context.own_runner(head.own),
        target=runner,
        grower=context.grower(
            context.proposer(weights.target_ids),
            context.draft_cost(head.own, head.forward, key),
            in_one_pass=weights.mask is not None,
        ),
    )
