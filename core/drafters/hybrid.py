"""Suffix lookup where it has a match that pays, else a model drafter."""

import dataclasses
from typing import Any

from core.drafters.base import CostOfRows, Drafter, DraftLimits, ModelDrafter, Outcome
from core.drafters.device_form import DeviceForm
from core.drafters.ngram import NgramDrafter
from core.drafters.tree_size import expected_rate
from core.modes.hybrid import HybridSettings
from core.modes.ngram import NgramSettings
from core.modes.settings import as_chains
from core.trees.tree import DraftTree

# How fast the model drafter's measured worth follows the text.
_SMOOTHING = 0.2


class HybridDrafter:
    """Implements `core.drafters.base.Drafter` over two others."""

    def __init__(self, lookup: NgramDrafter, model: ModelDrafter):
        self.model = model
        self._lookup = lookup
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
        return self.model.identity

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`: where the model has one, it grows what is not looked up."""
        form = self.model.device_form
        if form is None:
            return None
        return dataclasses.replace(form, host_tree=self._look_up, learn=self._learn)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        self._lookup.begin(prompt_token_ids, max_length)
        self.model.begin(prompt_token_ids, max_length)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`: the lookup wins where it promises more tokens per second."""
        tree = self._look_up(root_token_id, limits, cost)
        if tree is None:
            tree = self.model.draft(root_token_id, limits, cost)
            verify_s = 1.0 if cost is None else cost(len(tree))
            self._step_s = verify_s + self.model.drafting_s
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
        self._last = self.model
        return None

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`; the model learns from its own trees alone."""
        is_model = self._last is self.model
        self._learn(outcome, is_model, self._step_s)
        if is_model:
            self.model.commit(outcome)
        else:
            self.model.follow(outcome.emitted_token_ids)

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
        self.model.finish()


def lookup_settings(settings: HybridSettings, *, can_branch: bool) -> NgramSettings:
    """Those of the lookup beside a model; `can_branch` tells whether the target takes trees."""
    lookup = NgramSettings(
        num_nodes=settings.num_nodes,
        min_match=settings.min_match,
        fixed_size=settings.fixed_size,
    )
    return lookup if can_branch else as_chains(lookup)
