"""Suffix lookup where it has a match that pays, else a model drafter."""

import dataclasses
from collections.abc import Callable
from typing import Any

from core.drafters.base import CostOfRows, Drafter, DraftLimits, ModelDrafter, Outcome
from core.drafters.block import make_block
from core.drafters.classic import make_classic
from core.drafters.context import DrafterContext
from core.drafters.device_form import DeviceForm
from core.drafters.eagle import make_eagle
from core.drafters.ngram import NgramDrafter
from core.drafters.share_sd import make_share_sd, reason_against_quantizing
from core.drafters.tree_size import expected_rate
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel
from core.models.shipped import shipped_folder
from core.modes.hybrid import HybridSettings
from core.modes.ngram import NgramSettings
from core.modes.settings import (
    SELF,
    SHIPPED_BLOCK,
    SHIPPED_HEAD,
    DrafterSettings,
    TreeSettings,
    as_chains,
)
from core.modes.share_sd import ShareSdSettings
from core.trees.tree import DraftTree

# How fast the model drafter's measured worth follows the text.
_SMOOTHING = 0.2
# What reads the target's states, by the name of what is shipped.
_SHIPPED: dict[str, Callable[[DrafterContext], ModelDrafter]] = {
    SHIPPED_HEAD: make_eagle,
    SHIPPED_BLOCK: make_block,
}


class HybridDrafter:
    """Implements `core.drafters.base.Drafter` over two others."""

    def __init__(self, lookup: NgramDrafter, model: ModelDrafter):
        self._lookup = lookup
        self._model = model
        self._last: Drafter = model
        self._step_s = 1.0
        # What a step with the model drafter emits and costs, smoothed. Before it was tried it is
        # worth a plain step, so that a lookup that pays goes first.
        self._model_tokens = 1.0
        self._model_s: float | None = None

    @property
    def name(self) -> str:
        return f"hybrid: {self._last.name}"

    @property
    def identity(self) -> dict[str, Any] | None:
        return self._model.identity

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`: where the model has one, it grows what is not looked up."""
        form = self._model.device_form
        if form is None:
            return None
        return dataclasses.replace(form, host_tree=self._look_up, learn=self._learn)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        self._lookup.begin(prompt_token_ids, max_length)
        self._model.begin(prompt_token_ids, max_length)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`: the lookup wins where it promises more tokens per second."""
        tree = self._look_up(root_token_id, limits, cost)
        if tree is None:
            tree = self._model.draft(root_token_id, limits, cost)
            verify_s = 1.0 if cost is None else cost(len(tree))
            self._step_s = verify_s + self._model.drafting_s
        return tree

    def _look_up(
        self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None
    ) -> DraftTree | None:
        """The lookup's tree where it promises more; None where the model is to draft.

        Without measured costs every step counts the same.
        """
        tree = self._lookup.draft(root_token_id, limits, cost)
        if tree.num_drafted:
            model_s = self._model_s
            if model_s is None:
                model_s = 1.0 if cost is None else cost(1)
            if expected_rate(tree.reach(), cost) >= self._model_tokens / model_s:
                self._last = self._lookup
                return tree
        self._last = self._model
        return None

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`; the model learns from its own trees alone."""
        is_model = self._last is self._model
        self._learn(outcome, is_model, self._step_s)
        if is_model:
            self._model.commit(outcome)
        else:
            self._model.follow(outcome.emitted_token_ids)

    def _learn(self, outcome: Outcome, is_model: bool, step_s: float) -> None:
        """Follows the tokens with the lookup, and what the model's steps give and take."""
        self._lookup.commit(outcome)
        if not is_model:
            return
        old_s = self._model_s if self._model_s is not None else step_s
        self._model_s = old_s + _SMOOTHING * (step_s - old_s)
        num_tokens = len(outcome.emitted_token_ids)
        self._model_tokens += _SMOOTHING * (num_tokens - self._model_tokens)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._lookup.finish()
        self._model.finish()


def make_hybrid(context: DrafterContext) -> HybridDrafter:
    """The drafter for a run; raises as the maker of its model does."""
    settings = context.config.drafter
    assert isinstance(settings, HybridSettings)
    lookup = NgramSettings(
        num_nodes=settings.num_nodes,
        min_match=settings.min_match,
        fixed_size=settings.fixed_size,
    )
    if not context.runner.can_branch:
        lookup = as_chains(lookup)
    lookup_drafter = NgramDrafter(
        lookup, is_greedy=context.config.sampling.is_greedy, memory=context.memory
    )
    return HybridDrafter(lookup_drafter, _make_hybrid_model(context))


def _make_hybrid_model(context: DrafterContext) -> ModelDrafter:
    name = _hybrid_draft(context.config.draft, context.target.source_key)
    if name == SELF:
        return make_share_sd(context)
    _check_unquantized(context.config.drafter, name)
    return _SHIPPED.get(name, make_classic)(context)


def _check_unquantized(settings: DrafterSettings | None, name: str) -> None:
    """Raises InvalidSettingError for a setting that only the quantized self would heed."""
    for item in dataclasses.fields(ShareSdSettings):
        is_own = item.name not in {common.name for common in dataclasses.fields(TreeSettings)}
        if is_own and getattr(settings, item.name) != item.default:
            raise InvalidSettingError(
                f"{item.name} is a setting of the quantized self and {name} drafts; give draft "
                f"{SELF}, or leave {item.name} out."
            )


def _hybrid_draft(name: str | None, target_key: str) -> str:
    """The model that drafts beside the lookup: unset is the shipped head, else the quantized self."""
    if name is not None:
        return name
    return SELF if shipped_folder(target_key, "eagle") is None else SHIPPED_HEAD


def reason_against(draft: str | None, target: LoadedModel) -> str | None:
    """See `core.modes.registry.Mode`: as the mode of the model that drafts beside the lookup."""
    name = _hybrid_draft(draft, target.source_key)
    return reason_against_quantizing("hybrid", target) if name == SELF else None
