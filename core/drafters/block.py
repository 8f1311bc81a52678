"""sd-block: a small network drafts a block of tokens in one pass from the target's hidden states.

The target's cache holds the hidden states of every committed token. A draft first writes those that are
new into the drafter's own cache; then the root and the mask tokens behind it are computed at once, and
forgotten after the verification.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.block_forward import BlockForward
from core.drafters.block_loading import load_block
from core.drafters.context import DrafterContext
from core.drafters.device_form import DeviceForm
from core.drafters.draft_pass import DraftPass
from core.drafters.proposals import Proposer, ReducedProposer
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.errors import BadLogitsError, DrafterUnavailableError
from core.modes.settings import TreeSettings
from core.runtime.storage import weights_sha256
from core.trees.tree import DraftTree


class BlockDrafter:
    """Implements `core.drafters.base.ModelDrafter`."""

    name = "sd-block"

    def __init__(
        self,
        identity: dict[str, Any],
        forward: BlockForward,
        own: ModelRunner,
        target: ModelRunner,
        settings: TreeSettings,
        proposer: Proposer,
        draft_cost: CostOfRows | None,
    ):
        """`own` holds the drafter's cache, `target` the hidden states; see `ClassicDrafter`."""
        self.identity = identity
        self.forward = forward
        self.own_runner = own
        self._target = target
        self._grower = TreeGrower(settings, proposer, draft_cost, in_one_pass=True)
        self._length = 0
        self._pass: DraftPass | None = None
        self._levels = torch.empty(0)  # [block_size - 1, vocab]

    @property
    def drafting_s(self) -> float:
        return self._grower.drafting_s

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`."""
        return None

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`; the target has computed its prompt before."""
        self._length = len(prompt_token_ids)
        self.own_runner.reserve(max_length)
        self.own_runner.cache.truncate(0)
        self._pass = None
        self._catch_up()

    def _catch_up(self) -> None:
        """Writes the states of committed rows that the cache lacks."""
        cache, states = self.own_runner.cache, self._target.cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        if cache.length < self._target.cache.length:
            self.forward.write_context(cache, states.rows[cache.length : self._target.cache.length])

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        self._catch_up()
        weights = self.forward.weights
        num_drafts = weights.block_size - 1
        self._pass = DraftPass(
            self.own_runner,
            [root_token_id],
            behind_root=[weights.mask_token_id] * num_drafts,
            sees_behind=True,
        )
        limits = limits._replace(depth=min(limits.depth, num_drafts))
        try:
            return self._grower.grow(root_token_id, self._length, limits, cost, self._level)
        except BadLogitsError:
            self.own_runner.clear()
            raise

    def _level(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits over the drafter's vocabulary, which hang on no token drafted before."""
        assert self._pass is not None
        if not self._pass.paths:
            # What the root's own row says is not trained.
            self._levels = self._pass(rows)[1:]
        return self._levels[rows[0].depth].repeat(len(rows), 1)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self._grower.learn(outcome)
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `ModelDrafter.follow`; the next draft writes what was committed."""
        self._pass = None
        self._length += len(token_ids)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._pass = None


class _Block(NamedTuple):
    forward: BlockForward
    own: ModelRunner
    """Holds its cache."""


def make_block(context: DrafterContext) -> BlockDrafter:
    """The drafter for a run, in the folder that `draft` names.

    Raises DrafterUnavailableError where there is none, and for a drafter of another target.
    """
    settings, target_forward = context.config.drafter, context.runner.forward
    assert isinstance(settings, TreeSettings)
    assert isinstance(target_forward, TorchForward), "unavailable_reason comes first"
    folder, runner = _folder(context), context.runner

    def load() -> _Block:
        forward = load_block(folder, context.target, target_forward)
        own = ModelRunner(forward, forward.shape, runner.context_limit, runner.dtype, runner.device)
        return _Block(forward, own)

    forward, own = context.kept.get("block drafter", str(folder), load)
    weights = forward.weights
    runner.keep_hidden_states(weights.state_layers, weights.target_size)
    proposer = context.proposer()
    if weights.target_ids is not None:
        proposer = ReducedProposer(proposer, weights.target_ids, runner.vocab_size)
    return BlockDrafter(
        identity={
            "name": f"block drafter for {context.target.identity.name}",
            "method": BlockDrafter.name,
            "num_bytes": weights.num_bytes,
            "state_layers": list(weights.state_layers),
            "block_size": weights.block_size,
        },
        forward=forward,
        own=context.own_runner(own),
        target=runner,
        settings=settings,
        proposer=proposer,
        draft_cost=None
        if settings.fixed_size
        else context.measure_cost(own, forward, ("block", weights_sha256(folder))),
    )


def _folder(context: DrafterContext) -> Path:
    name = context.config.draft
    folder = None if name is None else Path(name).expanduser()
    if folder is None or not folder.is_dir():
        got = "no block drafter is shipped" if name is None else f"there is no folder {name!r}"
        raise DrafterUnavailableError(f"{got}; give --draft a folder with a block drafter.")
    return folder
