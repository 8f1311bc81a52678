"""Drafts from repetition: what followed the longest repeated context, in prompt and output.

Source: prompt lookup decoding (Saxena 2023) and SuffixDecoding (Oliaro et al. 2024), with a
suffix automaton in place of a search, and with probabilities that are learned while it runs.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.device_form import DeviceForm
from core.drafters.suffix_automaton import Match, SuffixAutomaton
from core.drafters.tree_size import best_size
from core.modes.ngram import NgramSettings
from core.trees.tree import DraftTree

if TYPE_CHECKING:
    from core.drafters.context import DrafterContext

# A context falls back to shorter ones at most so often.
_MAX_FALLBACKS = 3
# A node that is reached less often than this never pays for its row.
_MIN_REACH = 0.02
# More children than any setting allows: keeps the order of candidates unique.
_MAX_CHILDREN = 64

# How often a context of so many tokens predicts the next one, before anything was observed, and
# how many observations that belief is worth.
_PRIOR_HIT_RATES = (0.0, 0.12, 0.3, 0.45, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.91, 0.92)
_PRIOR_WEIGHT = 6.0
# Sampled text repeats itself less often; where it does, that is learned without drafting.
_SAMPLED_SHARE = 0.3


class _HitRates:
    """Learned chance that a context of some length has seen the token that comes next."""

    def __init__(self, share: float) -> None:
        self._hits = [rate * share * _PRIOR_WEIGHT for rate in _PRIOR_HIT_RATES]
        self._trials = [_PRIOR_WEIGHT] * len(_PRIOR_HIT_RATES)

    def of(self, length: int) -> float:
        index = min(length, len(self._hits) - 1)
        return self._hits[index] / self._trials[index]

    def learn(self, length: int, hit: bool) -> None:
        index = min(length, len(self._hits) - 1)
        self._hits[index] += hit
        self._trials[index] += 1.0


class _Candidate(NamedTuple):
    """A possible draft token; ordered so that the most reachable comes first from a heap."""

    minus_reach: float
    order: int
    parent: int
    token_id: int
    prob: float
    match: Match


class NgramDrafter:
    """Implements `core.drafters.base.Drafter`; needs no model."""

    name = "ngram"
    identity = None

    def __init__(self, settings: NgramSettings, *, is_greedy: bool = True):
        self._settings = settings
        self._share = 1.0 if is_greedy else _SAMPLED_SHARE
        self._automaton = SuffixAutomaton()
        self._hit_rates = _HitRates(self._share)

    @property
    def device_form(self) -> DeviceForm:
        """See `Drafter.device_form`."""
        return DeviceForm(host_tree=self.draft, learn=self._learn)

    def _learn(self, outcome: Outcome, is_grown: bool, step_s: float) -> None:
        self.commit(outcome)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        self._automaton = SuffixAutomaton()
        self._hit_rates = _HitRates(self._share)
        for token_id in prompt_token_ids:
            self._automaton.append(token_id)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`."""
        settings = self._settings
        num_nodes = min(settings.num_nodes, limits.num_nodes)
        depth = min(settings.depth, limits.depth)
        is_sized = cost is not None and not settings.fixed_size
        tree = self._grow(root_token_id, num_nodes, depth, _MIN_REACH if is_sized else 0.0)
        if cost is None or settings.fixed_size:
            return tree
        return tree.first_nodes(best_size(tree.reach(), cost))

    def _grow(self, root_token_id: int, num_nodes: int, depth: int, min_reach: float) -> DraftTree:
        """Adds the node that is most likely to be reached, again and again."""
        tree = DraftTree(root_token_id)
        heap: list[_Candidate] = []
        self._expand(tree, 0, self._automaton.longest_match(), 1.0, min_reach, heap)
        while heap and tree.num_drafted < num_nodes:
            minus_reach, _, parent, token_id, prob, match = heapq.heappop(heap)
            node = tree.add(parent, token_id, prob)
            if tree.depths[node] < depth:
                self._expand(tree, node, match, -minus_reach, min_reach, heap)
        return tree

    def _expand(
        self,
        tree: DraftTree,
        node: int,
        match: Match,
        reach: float,
        min_reach: float,
        heap: list[_Candidate],
    ) -> None:
        """Puts the likely tokens after a context on the heap: longest context first."""
        automaton, settings = self._automaton, self._settings
        branching = settings.branching
        probs: dict[int, float] = {}
        rest = 1.0  # chance that no longer context has seen the next token
        for _ in range(_MAX_FALLBACKS):
            if match.length < settings.min_match or len(probs) >= branching:
                break
            if rest * reach < min_reach:
                break
            followers = automaton.continuations[match.state]
            if followers:
                hit_rate = self._hit_rates.of(match.length)
                weight = rest * hit_rate / automaton.num_continued(match.state)
                for token_id in automaton.frequent[match.state]:
                    if token_id in probs:
                        continue
                    if len(probs) >= branching:
                        break
                    state = followers[token_id]
                    probs[token_id] = prob = weight * automaton.counts[state]
                    if reach * prob >= min_reach:
                        longer = Match(state, match.length + 1)
                        order = len(tree) * _MAX_CHILDREN + len(probs)
                        entry = _Candidate(-reach * prob, order, node, token_id, prob, longer)
                        heapq.heappush(heap, entry)
                rest *= 1.0 - hit_rate
            match = automaton.shorter(match)
        if len(probs) > 1:
            best = sorted(probs, key=probs.__getitem__, reverse=True)
            tree.set_top_k(node, best, [probs[token_id] for token_id in best])
        elif probs:
            tree.set_top_k(node, list(probs), list(probs.values()))

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`: every emitted token tells how good its context would have been."""
        for token_id in outcome.emitted_token_ids:
            match = self._automaton.longest_match()
            for _ in range(_MAX_FALLBACKS):
                if match.length < self._settings.min_match:
                    break
                if self._automaton.continuations[match.state]:
                    is_hit = token_id in self._automaton.continuations[match.state]
                    self._hit_rates.learn(match.length, is_hit)
                    if is_hit:
                        break
                match = self._automaton.shorter(match)
            self._automaton.append(token_id)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._automaton = SuffixAutomaton()


def make_ngram(context: DrafterContext) -> NgramDrafter:
    """The drafter for a run."""
    settings = context.config.drafter
    assert isinstance(settings, NgramSettings)
    return NgramDrafter(settings, is_greedy=context.config.sampling.is_greedy)
