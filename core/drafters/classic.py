"""Classic speculation: a smaller model drafts (Leviathan et al. 2023)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.cuda.forward import reason_against
from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.backends.torch.invariant import invariant_sibling
from core.config import RunConfig
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.context import DrafterContext
from core.drafters.device_drafting import OwnCacheDrafter
from core.drafters.device_form import DeviceForm, DevicePlace
from core.drafters.draft_pass import DraftPass, pass_behind
from core.drafters.grown import GrownDrafter
from core.drafters.proposals import BestProposer
from core.drafters.text_match import TextDrafter, most_own_tokens
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.drafters.vocabularies import Vocabularies
from core.errors import InvalidSettingError
from core.loading.fingerprint import model_key
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel
from core.loading.tokenizer_match import tokenizer_difference
from core.models.shipped import shipped_folder
from core.models.token_bytes import TokenBytes
from core.trees.tree import DraftTree


class ClassicDrafter(GrownDrafter):
    """Implements `core.drafters.base.ModelDrafter`; its own cache follows the accepted path."""

    name = "sd-classic"

    def __init__(
        self,
        identity: dict[str, Any],
        runner: ModelRunner,
        vocab_size: int,
        grower: TreeGrower[torch.Tensor],
        vocabularies: Vocabularies | None = None,
    ):
        """`runner` is the draft model's, `vocab_size` the target's. With `vocabularies` its own differs
        from the target's, and what the grower chooses by are logits of the tokens that both have."""
        super().__init__(identity, runner, grower)
        self._vocab_size = vocab_size
        self._vocabularies = vocabularies
        self._length = 0  # of the text in the target's tokens
        self._most = 0  # tokens of its own that it reads
        self._num_token_ids = runner.forward.num_token_ids
        self._can_read = True
        self._token_ids: list[int] = []  # its own
        self._pass: DraftPass | None = None

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`. The device asks nobody whether a token has a row."""
        forward = self.own_runner.forward
        if self._vocabularies is not None:
            return None
        if self._num_token_ids < self._vocab_size or reason_against(forward) is not None:
            return None
        assert isinstance(forward, TorchForward), "the device computes no other"
        return DeviceForm(_Levels(self.own_runner, forward))

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`. A prompt beyond the draft model's context, or with a token that its
        embedding lacks, leaves it without drafts."""
        self._token_ids = self._read(prompt_token_ids)
        self._length, self._most = len(prompt_token_ids), self.own_runner.context_limit
        self._pass = None
        self._can_read = max(self._token_ids, default=self._num_token_ids) < self._num_token_ids
        if self._vocabularies is not None:
            wanted = most_own_tokens(len(self._token_ids), self._length, max_length)
            self._most = max_length = min(self._most, wanted)
        if len(self._token_ids) < self._most and self._can_read:
            self.own_runner.begin(self._token_ids, min(max_length, self._most), bool)

    def _read(self, token_ids: list[int]) -> list[int]:
        """The target's tokens in its own."""
        vocabularies = self._vocabularies
        if vocabularies is None:
            return token_ids.copy()
        return [own for token_id in token_ids for own in vocabularies.own(token_id)]

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        self._pass = None
        room = self._most - len(self._token_ids)
        if room < 1 or not self._can_read or not self._reads_root(root_token_id):
            return DraftTree(root_token_id)
        self._pass = pass_behind(self.own_runner, self._token_ids)
        limits = DraftLimits(limits.num_nodes, min(limits.depth, room))
        return self._grow(root_token_id, self._length, limits, cost, self._level_forward)

    def _reads_root(self, root_token_id: int) -> bool:
        """Whether the root adds anything to what is read: else there is no row to draft from."""
        return self._vocabularies is None or bool(self._vocabularies.own(root_token_id))

    def _level_forward(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits over the target's vocabulary: the two may be filled up to different sizes."""
        assert self._pass is not None
        if self._vocabularies is not None:
            own = [row._replace(token_id=self._read([row.token_id])[-1]) for row in rows]
            return self._pass(own)[:, self._vocabularies.draft_ids]
        logits = self._pass(rows)
        missing = self._vocab_size - logits.shape[-1]
        if missing > 0:
            return F.pad(logits, (0, missing), value=-torch.inf)
        return logits[:, : self._vocab_size]

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`: keeps the cache rows of the accepted path."""
        self.grower.learn(outcome)
        if self._pass is not None and self._pass.paths:
            before = self._pass.num_before_root
            row_of = {path: before + row for row, path in enumerate(self._pass.paths)}
            accepted = tuple(self._read([outcome.tree.token_ids[node] for node in outcome.path]))
            prefixes = [accepted[:count] for count in range(len(accepted) + 1)]
            rows = [*range(before), *(row_of[prefix] for prefix in prefixes if prefix in row_of)]
            start = self.own_runner.cache.length
            known = [*self._token_ids, *accepted]
            self.own_runner.keep_rows(rows, known[start : start + len(rows)])
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`: the next draft computes what the cache lacks."""
        self._pass = None
        own = self._read(token_ids)
        self._token_ids += own
        self._length += len(token_ids)
        self._can_read = self._can_read and max(own, default=0) < self._num_token_ids

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
        return ClassicDrafter.name, id(self.forward)

    def on_device(self, place: DevicePlace) -> OwnCacheDrafter:
        """See `DeviceLevels.on_device`."""
        assert place.own_cache is not None, "the draft model has one"
        forward = place.forward(self.forward, place.own_cache)
        return OwnCacheDrafter(forward, place.num_root_rows, place.own_cache.storage.device)


class _DraftModel(NamedTuple):
    identity: dict[str, Any]
    runner: ModelRunner
    key: str
    """Changes with what it computes."""
    vocabularies: Vocabularies | None
    """Where its own differs from the target's."""
    difference: str


def make_classic(context: DrafterContext) -> ClassicDrafter | TextDrafter:
    """The drafter for a run, its model loaded where it is not the last run's.

    Raises InvalidSettingError without a draft model or with one whose tokens cannot be compared with the
    target's, and ModelUnavailableError where it cannot be loaded.
    """
    config = context.config
    name = config.draft or shipped_draft(context.target)
    if name is None:
        raise InvalidSettingError(
            f"mode {config.mode} needs a draft model; give --draft a smaller model."
        )
    key = (name, config.invariant)
    draft = context.kept.get("draft model", key, lambda: _load(context, name))
    draft_cost = context.draft_cost(draft.runner, draft.runner.forward, ("draft", draft.key))
    if draft.vocabularies is not None:
        return _across(context, draft, draft.vocabularies, draft_cost)
    return ClassicDrafter(
        identity=draft.identity,
        runner=context.own_runner(draft.runner),
        vocab_size=context.runner.vocab_size,
        grower=context.grower(context.proposer(), draft_cost, can_branch=draft.runner.can_branch),
    )


def _across(
    context: DrafterContext,
    draft: _DraftModel,
    vocabularies: Vocabularies,
    draft_cost: CostOfRows | None,
) -> ClassicDrafter | TextDrafter:
    """The drafter of a model with another vocabulary, which says in its trace how it drafts, and why.

    Sampled tokens can only be drawn from a distribution over the target's; greedy ones are chosen from
    all that the draft model can write.
    """
    num_shared, num_draft = vocabularies.num_shared, vocabularies.num_draft
    shared = f"{num_shared:,} of its {num_draft:,} tokens are the target's as well"
    is_greedy = context.config.sampling.is_greedy
    by_text = is_greedy or 2 * num_shared < num_draft
    if by_text:
        reason = "the run is greedy" if is_greedy else f"only {shared}"
        how = f"text, which is split into the target's tokens anew, for {reason}"
    else:
        how = f"the tokens that both have, and draws from these, for the run samples: {shared}"
    identity = {
        **draft.identity,
        "drafts_by": "text" if by_text else "shared tokens",
        "note": f"its vocabulary is another ({draft.difference}); it drafts {how}",
    }
    runner = context.own_runner(draft.runner)
    if by_text:
        chains = context.grower(BestProposer(), draft_cost, can_branch=False)
        return TextDrafter(identity, runner, vocabularies, chains)
    target_ids = vocabularies.target_ids.to(context.target.device)
    return ClassicDrafter(
        identity=identity,
        runner=runner,
        vocab_size=context.runner.vocab_size,
        grower=context.grower(
            context.proposer(target_ids), draft_cost, can_branch=draft.runner.can_branch
        ),
        vocabularies=vocabularies,
    )


def shipped_draft(target: LoadedModel) -> str | None:
    """The folder of the small model that is shipped for a target; None where there is none."""
    folder = shipped_folder(target.source_key, "draft")
    return None if folder is None else str(folder)


def _load(context: DrafterContext, name: str) -> _DraftModel:
    config: RunConfig = context.config
    difference: str | None = None
    if name == config.target:
        model = context.target
        runner = context.runner.sibling()
    else:
        model = context.load_draft(name)
        difference = tokenizer_difference(context.target.tokenizer, model.tokenizer)
        runner = runner_of(model)
        if config.invariant:
            runner = invariant_sibling(runner)
    known, wanted = runner.forward.num_token_ids, context.runner.vocab_size
    vocabularies = None
    if difference is not None:
        vocabularies = _vocabularies(context.target, model, difference, wanted, known)
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
    return _DraftModel(identity, runner, model_key(model), vocabularies, difference or "")


def _vocabularies(
    target: LoadedModel, draft: LoadedModel, difference: str, num_target: int, num_draft: int
) -> Vocabularies:
    def bytes_of(model: LoadedModel) -> TokenBytes:
        try:
            return TokenBytes(model.tokenizer)
        except ValueError as error:
            raise InvalidSettingError(
                f"{draft.identity.name} cannot draft for {target.identity.name}: {difference}, and of "
                f"{model.identity.name} {error}; give a draft model with the tokenizer of the target."
            ) from error

    return Vocabularies(bytes_of(target), bytes_of(draft), num_target, num_draft)
