"""Suffix lookup where it has a match that pays, else the model drafter that pays most."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from core.drafters.base import CostOfRows, Drafter, DraftLimits, ModelDrafter, Outcome
from core.drafters.device_form import DeviceForm
from core.drafters.ngram import NgramDrafter
from core.drafters.tree_size import expected_rate
from core.modes.hybrid import HybridSettings
from core.modes.ngram import NgramSettings
from core.modes.settings import as_chains
from core.trees.tree import DraftTree

# How fast a model drafter's measured worth follows the text.
_SMOOTHING = 0.2
# Texts change: a model that did not draft for so many of the models' steps is tried again.
_STEPS_BETWEEN_TRIES = 24


class _Worth:
    """What steps with a model drafter emit and cost, smoothed."""

    def __init__(self, model: ModelDrafter):
        self.model = model
        self.num_passed = 0
        """Steps that other models drafted since its last one."""
        # Before it was tried it is worth a plain step, so that a lookup that pays goes first.
        self._tokens = 1.0
        self._seconds: float | None = None

    @property
    def was_tried(self) -> bool:
        return self._seconds is not None

    def rate(self, plain_s: float) -> float:
        """Tokens per second."""
        return self._tokens / (self._seconds or plain_s)

    def learn(self, num_tokens: int, step_s: float) -> None:
        """Takes in a step that it drafted."""
        old_s = step_s if self._seconds is None else self._seconds
        self._seconds = old_s + _SMOOTHING * (step_s - old_s)
        self._tokens += _SMOOTHING * (num_tokens - self._tokens)


class HybridDrafter:
    """Implements `core.drafters.base.Drafter` over a lookup and one model drafter or more."""

    def __init__(self, lookup: NgramDrafter, models: Sequence[ModelDrafter]):
        self.models = tuple(models)
        self._lookup = lookup
        self._worths = [_Worth(model) for model in models]
        self._drafting = self._worths[0]
        self._last: Drafter = models[0]
        self._step_s = 1.0

    @property
    def name(self) -> str:
        return f"hybrid: {self._last.name}"

    @property
    def identity(self) -> dict[str, Any] | None:
        """That of its model; of several, all of them."""
        identities = [model.identity or {} for model in self.models]
        if len(identities) == 1:
            return identities[0] or None
        return {
            "name": ", ".join(str(each.get("name", "")) for each in identities),
            "method": "hybrid",
            "num_bytes": sum(each.get("num_bytes", 0) for each in identities),
            "parts": identities,
        }

    @property
    def device_form(self) -> DeviceForm | None:
        """See `Drafter.device_form`: where its one model has one, that grows what is not looked up. Of
        several the host chooses."""
        form = self.models[0].device_form
        if form is None or len(self.models) > 1:
            return None
        return dataclasses.replace(form, host_tree=self._look_up, learn=self._learn)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        for drafter in (self._lookup, *self.models):
            drafter.begin(prompt_token_ids, max_length)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`: the lookup wins where it promises more tokens per second."""
        tree = self._look_up(root_token_id, limits, cost)
        if tree is None:
            tree = self._drafting.model.draft(root_token_id, limits, cost)
            verify_s = 1.0 if cost is None else cost(len(tree))
            self._step_s = verify_s + self._drafting.model.drafting_s
        return tree

    def _look_up(
        self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None
    ) -> DraftTree | None:
        """The lookup's tree where it promises more; None where a model is to draft.

        Without measured costs every step counts the same.
        """
        plain_s = 1.0 if cost is None else cost(1)
        self._drafting = self._next_model(plain_s)
        tree = self._lookup.draft(root_token_id, limits, cost)
        if tree.num_drafted and expected_rate(tree.reach(), cost) >= self._drafting.rate(plain_s):
            self._last = self._lookup
            return tree
        self._last = self._drafting.model
        return None

    def _next_model(self, plain_s: float) -> _Worth:
        """The one with the most tokens per second, but for those that are to be tried first."""
        for worth in self._worths:
            if not worth.was_tried or worth.num_passed >= _STEPS_BETWEEN_TRIES:
                return worth
        return max(self._worths, key=lambda worth: worth.rate(plain_s))

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`; a model learns from its own trees alone."""
        is_model = self._last is not self._lookup
        self._learn(outcome, is_model, self._step_s)
        for model in self.models:
            if model is self._last:
                model.commit(outcome)
            else:
                model.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`."""
        for drafter in (self._lookup, *self.models):
            drafter.follow(token_ids)

    def _learn(self, outcome: Outcome, is_model: bool, step_s: float) -> None:
        """Follows the tokens with the lookup, and what the models' steps give and take."""
        self._lookup.commit(outcome)
        if not is_model:
            return
        for worth in self._worths:
            worth.num_passed += 1
        self._drafting.num_passed = 0
        self._drafting.learn(len(outcome.emitted_token_ids), step_s)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        for drafter in (self._lookup, *self.models):
            drafter.finish()


def lookup_settings(settings: HybridSettings, *, can_branch: bool) -> NgramSettings:
    """Those of the lookup beside a model; `can_branch` tells whether the target takes trees."""
    lookup = NgramSettings(
        num_nodes=settings.num_nodes,
        min_match=settings.min_match,
        fixed_size=settings.fixed_size,
    )
    return lookup if can_branch else as_chains(lookup)
