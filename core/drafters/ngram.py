"""Drafts from repetition: what followed the longest repeated context, in prompt and output, or in
earlier answers.

Source: prompt lookup decoding (Saxena 2023) and SuffixDecoding (Oliaro et al. 2024), with a
suffix automaton in place of a search, and with probabilities that are learned while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.device_form import DeviceForm
from core.drafters.lookup_growth import Follower, grow_by_reach
from core.drafters.suffix_automaton import Match, SuffixAutomaton
from core.drafters.suffix_memory import MAX_MATCH, MemoryView
from core.drafters.tree_size import best_size, expected_rate
from core.modes.ngram import NgramSettings
from core.trees.tree import DraftTree

if TYPE_CHECKING:
    from core.drafters.context import DrafterContext
    from core.drafters.suffix_index import SuffixIndex

# Who drafted, for the trace.
LOCAL, REMEMBERED = "ngram", "memory"
# A context falls back to shorter ones at most so often.
_MAX_FALLBACKS = 3
# A node that is reached less often than this never pays for its row.
_MIN_REACH = 0.02

# How often a context of so many tokens predicts the next one, before anything was observed, and
# how many observations that belief is worth.
_PRIOR_HIT_RATES = (0.0, 0.12, 0.3, 0.45, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.91, 0.92)
_PRIOR_WEIGHT = 6.0
# Sampled text repeats itself less often; where it does, that is learned without drafting.
_SAMPLED_SHARE = 0.3


class HitRates:
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


class NgramDrafter:
    """Implements `core.drafters.base.Drafter`; needs no model."""

    identity = None

    def __init__(
        self,
        settings: NgramSettings,
        *,
        is_greedy: bool = True,
        memory: MemoryView | None = None,
    ):
        self.name = LOCAL
        self._settings = settings
        self._share = 1.0 if is_greedy else _SAMPLED_SHARE
        self._automaton = SuffixAutomaton()
        self._hit_rates = HitRates(self._share)
        self._memory = memory
        self._remembered: _Remembered | None = None

    @property
    def device_form(self) -> DeviceForm:
        """See `Drafter.device_form`."""
        return DeviceForm(host_tree=self.draft, learn=self._learn)

    def _learn(self, outcome: Outcome, is_grown: bool, step_s: float) -> None:
        self.commit(outcome)

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`."""
        self._automaton = SuffixAutomaton()
        self._hit_rates = HitRates(self._share)
        for token_id in prompt_token_ids:
            self._automaton.append(token_id)
        if self._memory is not None:
            rates = HitRates(self._share)
            self._remembered = _Remembered(self._memory.index, self._settings, rates)
            self._remembered.begin(prompt_token_ids)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`: of the local draft and the remembered one, the one that promises more."""
        settings = self._settings
        num_nodes = min(settings.num_nodes, limits.num_nodes)
        depth = min(settings.depth, limits.depth)
        used_cost = None if settings.fixed_size else cost
        min_reach = 0.0 if used_cost is None else _MIN_REACH
        tree = _sized(self._grow(root_token_id, num_nodes, depth, min_reach), used_cost)
        self.name = LOCAL
        if self._remembered is not None:
            other = _sized(self._remembered.draft(num_nodes, depth), used_cost)
            if expected_rate(other.reach(), used_cost) > expected_rate(tree.reach(), used_cost):
                self.name = REMEMBERED
                return other
        return tree

    def _grow(self, root_token_id: int, num_nodes: int, depth: int, min_reach: float) -> DraftTree:
        tree = DraftTree(root_token_id)

        def expand(node: int, match: Match, reach: float) -> Iterator[Follower[Match]]:
            return self._followers(tree, node, match, reach, min_reach)

        grow_by_reach(tree, num_nodes, depth, self._automaton.longest_match(), expand)
        return tree

    def _followers(
        self, tree: DraftTree, node: int, match: Match, reach: float, min_reach: float
    ) -> Iterator[Follower[Match]]:
        """The likely tokens after a context: longest context first."""
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
                        yield Follower(token_id, prob, Match(state, match.length + 1))
                rest *= 1.0 - hit_rate
            match = automaton.shorter(match)
        if len(probs) > 1:
            best = sorted(probs, key=probs.__getitem__, reverse=True)
            tree.set_top_k(node, best, [probs[token_id] for token_id in best])
        elif probs:
            tree.set_top_k(node, list(probs), list(probs.values()))

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        self.follow(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`: every emitted token tells how good its context would have been."""
        for token_id in token_ids:
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
            if self._remembered is not None:
                self._remembered.follow(token_id)

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._automaton = SuffixAutomaton()
        self._remembered = None


class _Remembered:
    """One run's drafts from earlier answers, and how good their contexts have been."""

    def __init__(self, index: SuffixIndex, settings: NgramSettings, hit_rates: HitRates):
        self._index = index
        self._settings = settings
        self._hit_rates = hit_rates
        self._context: list[int] = []
        self._places = index.longest([])

    def begin(self, prompt_token_ids: list[int]) -> None:
        """Starts a run; the last prompt token is the first root."""
        self._context = prompt_token_ids[-MAX_MATCH:]
        self._places = self._index.longest(self._context)

    def draft(self, num_nodes: int, depth: int) -> DraftTree:
        """The best-scored draft behind the tokens so far."""
        return self._index.propose(
            self._context,
            num_nodes=num_nodes,
            depth=depth,
            branching=self._settings.branching,
            min_match=self._settings.min_match,
            chance=self._hit_rates.of,
        ).tree

    def follow(self, token_id: int) -> None:
        """Takes over an emitted token, which tells how good its context would have been."""
        places = self._places
        if places.length >= self._settings.min_match:
            following = self._index.following(places)
            if following:
                self._hit_rates.learn(places.length, token_id in following)
        self._context = [*self._context[1 - MAX_MATCH :], token_id]
        self._places = self._index.after(places, token_id)
        if not self._places.length:
            self._places = self._index.longest(self._context)


def _sized(tree: DraftTree, cost: CostOfRows | None) -> DraftTree:
    """The tree cut to what pays; whole without costs."""
    return tree if cost is None else tree.first_nodes(best_size(tree.reach(), cost))


def make_ngram(context: DrafterContext) -> NgramDrafter:
    """The drafter for a run."""
    settings = context.config.drafter
    assert isinstance(settings, NgramSettings)
    return NgramDrafter(
        settings, is_greedy=context.config.sampling.is_greedy, memory=context.memory
    )
