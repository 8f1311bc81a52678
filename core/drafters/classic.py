"""Classic speculation: a smaller model with the same tokenizer drafts (Leviathan et al. 2023)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.config import RunConfig
from core.drafter_settings import TreeSettings
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.draft_pass import DraftPass
from core.drafters.proposals import Proposer
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.drafters.workshop import Workshop
from core.errors import BadLogitsError, InvalidSettingError
from core.invariant import invariant_sibling
from core.models.fingerprint import model_key
from core.models.forward import verifier_of
from core.models.loading import LoadedModel
from core.models.shipped import shipped_folder
from core.models.tokenizer_match import check_same_tokenizer
from core.tree import DraftTree
from core.verifier import PREFILL_CHUNK, Verifier


class ClassicDrafter:
    """Implements `core.drafters.base.ModelDrafter`; its own cache follows the accepted path."""

    name = "sd-classic"

    def __init__(
        self,
        identity: dict[str, Any],
        verifier: Verifier,
        vocab_size: int,
        settings: TreeSettings,
        proposer: Proposer,
        draft_cost: CostOfRows | None,
    ):
        """`verifier` is the draft model's, `vocab_size` the target's; `draft_cost` is the draft
        model's measured forward, None for fixed sizes."""
        self.identity = identity
        self.own_verifier = verifier
        self._vocab_size = vocab_size
        self._num_token_ids = verifier.forward.num_token_ids
        self._can_read = True
        self._grower = TreeGrower(settings, proposer, draft_cost)
        self._token_ids: list[int] = []
        self._pass: DraftPass | None = None

    @property
    def drafting_s(self) -> float:
        return self._grower.drafting_s

    @property
    def reads_all_tokens(self) -> bool:
        """Whether the draft model's embedding has a row for every token of the target."""
        return self._num_token_ids >= self._vocab_size

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`. A prompt beyond the draft model's context, or with a token that its
        embedding lacks, leaves it without drafts."""
        self._token_ids = prompt_token_ids.copy()
        self._pass = None
        self._can_read = max(prompt_token_ids) < self._num_token_ids
        limit = self.own_verifier.context_limit
        if len(prompt_token_ids) < limit and self._can_read:
            self.own_verifier.begin(prompt_token_ids, min(max_length, limit), bool)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        self._pass = None
        length = len(self._token_ids)
        room = self.own_verifier.context_limit - length
        if room < 1 or not self._can_read:
            return DraftTree(root_token_id)
        unseen = self._token_ids[self.own_verifier.cache.length :]
        while len(unseen) > PREFILL_CHUNK // 2:
            self.own_verifier.append(unseen[: PREFILL_CHUNK // 2])
            unseen = unseen[PREFILL_CHUNK // 2 :]
        self._pass = DraftPass(self.own_verifier, unseen)
        limits = DraftLimits(limits.num_nodes, min(limits.depth, room))
        try:
            return self._grower.grow(root_token_id, length, limits, cost, self._level_forward)
        except BadLogitsError:
            self.own_verifier.clear()
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
            start = self.own_verifier.cache.length
            known = [*self._token_ids, *accepted]
            self.own_verifier.keep_rows(rows, known[start : start + len(rows)])
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `ModelDrafter.follow`: the next draft computes what the cache lacks."""
        self._pass = None
        self._token_ids += token_ids
        self._can_read = self._can_read and max(token_ids) < self._num_token_ids

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._pass = None
        self.own_verifier.finish()


class _DraftModel(NamedTuple):
    identity: dict[str, Any]
    verifier: Verifier
    key: str
    """Changes with what it computes."""


def make_classic(workshop: Workshop) -> ClassicDrafter:
    """The drafter for a run, its model loaded where it is not the last run's.

    Raises InvalidSettingError without a draft model or with one of another tokenizer, and
    ModelUnavailableError where it cannot be loaded.
    """
    config, settings = workshop.config, workshop.config.drafter
    assert isinstance(settings, TreeSettings)
    name = config.draft or shipped_draft(workshop.target)
    if name is None:
        raise InvalidSettingError(
            f"mode {config.mode} needs a draft model; give --draft a smaller model with the "
            "tokenizer of the target."
        )
    key = (name, config.invariant)
    draft = workshop.kept.get("draft model", key, lambda: _load(workshop, name))
    return ClassicDrafter(
        identity=draft.identity,
        verifier=workshop.seat(draft.verifier),
        vocab_size=workshop.verifier.vocab_size,
        settings=settings,
        proposer=workshop.proposer(),
        draft_cost=None
        if settings.fixed_size
        else workshop.measure_cost(draft.verifier, draft.verifier.forward, ("draft", draft.key)),
    )


def shipped_draft(target: LoadedModel) -> str | None:
    """The folder of the small model that is shipped for a target; None where there is none."""
    folder = shipped_folder(target.source_key, "draft")
    return None if folder is None else str(folder)


def _load(workshop: Workshop, name: str) -> _DraftModel:
    config: RunConfig = workshop.config
    if name == config.target:
        model = workshop.target
        verifier = workshop.verifier.sibling()
    else:
        model = workshop.load_draft(name)
        check_same_tokenizer(workshop.target, model)
        verifier = verifier_of(model)
        if config.invariant:
            verifier = invariant_sibling(verifier)
    known, wanted = verifier.forward.num_token_ids, workshop.verifier.vocab_size
    unknown = (
        f"its embedding has {known} rows and the target {wanted} tokens; once one of the others is "
        "in the text, nothing is drafted any more"
    )
    identity = {
        **model.identity.to_dict(),
        **({"note": unknown} if known < wanted else {}),
        "name": f"small model for {workshop.target.identity.name}"
        if name == shipped_draft(workshop.target)
        else name,
        "method": "sd-classic",
        "forward": verifier.forward.name,
    }
    return _DraftModel(identity, verifier, model_key(model))
