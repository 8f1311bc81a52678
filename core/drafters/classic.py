"""Classic speculation: a smaller model with the same tokenizer drafts (Leviathan et al. 2023)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.cuda.forward import reason_against
from core.backends.runner import PREFILL_CHUNK, ModelRunner
from core.backends.torch.forward import TorchForward
from core.backends.torch.invariant import invariant_sibling
from core.config import RunConfig
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.context import DrafterContext
from core.drafters.device_drafting import OwnCacheDrafter
from core.drafters.device_form import DeviceForm, DevicePlace
from core.drafters.draft_pass import DraftPass
from core.drafters.proposals import Proposer
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.errors import BadLogitsError, InvalidSettingError
from core.loading.fingerprint import model_key
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel
from core.loading.tokenizer_match import check_same_tokenizer
from core.models.shipped import shipped_folder
from core.modes.settings import TreeSettings, as_chains
from core.trees.tree import DraftTree


class ClassicDrafter:
    """Implements `core.drafters.base.ModelDrafter`; its own cache follows the accepted path."""

    name = "sd-classic"

    def __init__(
        self,
        identity: dict[str, Any],
        runner: ModelRunner,
        vocab_size: int,
        settings: TreeSettings,
        proposer: Proposer,
        draft_cost: CostOfRows | None,
    ):
        """`runner` is the draft model's, `vocab_size` the target's; `draft_cost` is the draft
        model's measured forward, None for fixed sizes."""
        self.identity = identity
        self.own_runner = runner
        self._vocab_size = vocab_size
        self._num_token_ids = runner.forward.num_token_ids
        self._can_read = True
        self._grower = TreeGrower(settings, proposer, draft_cost)
        self._token_ids: list[int] = []
        self._pass: DraftPass | None = None

    @property
    def drafting_s(self) -> float:
        return self._grower.drafting_s

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`. The device asks nobody whether a token has a row."""
        forward = self.own_runner.forward
        if self._num_token_ids < self._vocab_size or reason_against(forward) is not None:
            return None
        assert isinstance(forward, TorchForward), "the device computes no other"
        return DeviceForm(_Levels(self.own_runner, forward))

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`. A prompt beyond the draft model's context, or with a token that its
        embedding lacks, leaves it without drafts."""
        self._token_ids = prompt_token_ids.copy()
        self._pass = None
        self._can_read = max(prompt_token_ids) < self._num_token_ids
        limit = self.own_runner.context_limit
        if len(prompt_token_ids) < limit and self._can_read:
            self.own_runner.begin(prompt_token_ids, min(max_length, limit), bool)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        self._pass = None
        length = len(self._token_ids)
        room = self.own_runner.context_limit - length
        if room < 1 or not self._can_read:
            return DraftTree(root_token_id)
        unseen = self._token_ids[self.own_runner.cache.length :]
        while len(unseen) > PREFILL_CHUNK // 2:
            self.own_runner.append(unseen[: PREFILL_CHUNK // 2])
            unseen = unseen[PREFILL_CHUNK // 2 :]
        self._pass = DraftPass(self.own_runner, unseen)
        limits = DraftLimits(limits.num_nodes, min(limits.depth, room))
        try:
            return self._grower.grow(root_token_id, length, limits, cost, self._level_forward)
        except BadLogitsError:
            self.own_runner.clear()
            raise

    def _level_forward(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits over the target's vocabulary: the two may be filled up to different sizes."""
        assert self._pass is not None
        logits = self._pass(rows)
        missing = self._vocab_size - logits.shape[-1]
        if missing > 0:
            return F.pad(logits, (0, missing), value=-torch.inf)
        return logits[:, : self._vocab_size]

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`: keeps the cache rows of the accepted path."""
        self._grower.learn(outcome)
        if self._pass is not None and self._pass.paths:
            before = self._pass.num_before_root
            row_of = {path: before + row for row, path in enumerate(self._pass.paths)}
            accepted = tuple(outcome.tree.token_ids[node] for node in outcome.path)
            prefixes = [accepted[:count] for count in range(len(accepted) + 1)]
            rows = [*range(before), *(row_of[prefix] for prefix in prefixes if prefix in row_of)]
            start = self.own_runner.cache.length
            known = [*self._token_ids, *accepted]
            self.own_runner.keep_rows(rows, known[start : start + len(rows)])
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `ModelDrafter.follow`: the next draft computes what the cache lacks."""
        self._pass = None
        self._token_ids += token_ids
        self._can_read = self._can_read and max(token_ids) < self._num_token_ids

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._pass = None
        self.own_runner.finish()


@dataclass(frozen=True, slots=True)
class _Levels:
    """Implements `core.drafters.device_form.DeviceLevels` on the draft model's cache."""

    own_runner: ModelRunner
    forward: TorchForward
    target_ids: None = None

    @property
    def signature(self) -> Hashable:
        """See `DeviceLevels.signature`."""
        return ClassicDrafter.name, id(self.own_runner.cache), id(self.forward)

    def on_device(self, place: DevicePlace) -> OwnCacheDrafter:
        """See `DeviceLevels.on_device`."""
        forward = place.forward(self.forward, self.own_runner)
        return OwnCacheDrafter(forward, place.state, place.num_root_rows)


class _DraftModel(NamedTuple):
    identity: dict[str, Any]
    runner: ModelRunner
    key: str
    """Changes with what it computes."""


def make_classic(context: DrafterContext) -> ClassicDrafter:
    """The drafter for a run, its model loaded where it is not the last run's.

    Raises InvalidSettingError without a draft model or with one of another tokenizer, and
    ModelUnavailableError where it cannot be loaded.
    """
    config, settings = context.config, context.config.drafter
    assert isinstance(settings, TreeSettings)
    name = config.draft or shipped_draft(context.target)
    if name is None:
        raise InvalidSettingError(
            f"mode {config.mode} needs a draft model; give --draft a smaller model with the "
            "tokenizer of the target."
        )
    key = (name, config.invariant)
    draft = context.kept.get("draft model", key, lambda: _load(context, name))
    return ClassicDrafter(
        identity=draft.identity,
        runner=context.own_runner(draft.runner),
        vocab_size=context.runner.vocab_size,
        settings=settings if draft.runner.can_branch else as_chains(settings),
        proposer=context.proposer(),
        draft_cost=None
        if settings.fixed_size
        else context.measure_cost(draft.runner, draft.runner.forward, ("draft", draft.key)),
    )


def shipped_draft(target: LoadedModel) -> str | None:
    """The folder of the small model that is shipped for a target; None where there is none."""
    folder = shipped_folder(target.source_key, "draft")
    return None if folder is None else str(folder)


def _load(context: DrafterContext, name: str) -> _DraftModel:
    config: RunConfig = context.config
    if name == config.target:
        model = context.target
        runner = context.runner.sibling()
    else:
        model = context.load_draft(name)
        check_same_tokenizer(context.target, model)
        runner = runner_of(model)
        if config.invariant:
            runner = invariant_sibling(runner)
    known, wanted = runner.forward.num_token_ids, context.runner.vocab_size
    unknown = (
        f"its embedding has {known} rows and the target {wanted} tokens; once one of the others is "
        "in the text, nothing is drafted any more"
    )
    identity = {
        **model.identity.to_dict(),
        **({"note": unknown} if known < wanted else {}),
        "name": f"small model for {context.target.identity.name}"
        if name == shipped_draft(context.target)
        else name,
        "method": "sd-classic",
        "forward": runner.forward.name,
    }
    return _DraftModel(identity, runner, model_key(model))
