"""What followed a context in earlier answers: SuffixDecoding's search and score (Oliaro et al. 2024).

A suffix tree would hold every place of every context. Here the places of the last token are an array,
and each token before it leaves those that go on matching: a few operations over all places at once.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from core.drafters.lookup_growth import Follower, grow_by_reach
from core.drafters.suffix_memory import MAX_MATCH
from core.trees.tree import DraftTree

# A draft has at most so many nodes for every token of the context that matched.
NODES_PER_MATCHED_TOKEN = 1.0
# A node that is reached less often is left out.
MIN_REACH = 0.1
# Stands around every answer, so that no context reaches into another one.
_BORDER = -1

Chance = Callable[[int], float]


class Places(NamedTuple):
    """Where a context occurred."""

    ends: np.ndarray  # [places], of its last token, oldest first
    length: int
    """How many tokens of the context these places share."""


_NOWHERE = Places(np.empty(0, np.int64), 0)


class Proposal(NamedTuple):
    """A draft and what it promises."""

    tree: DraftTree
    score: float
    """Expected number of accepted nodes: the sum of the chances to reach them."""
    match_length: int


def certain(length: int) -> float:
    """The chance of a match as SuffixDecoding counts it: what followed is what follows."""
    return 1.0


class SuffixIndex:
    """Answers as they were at one time, ready for the search."""

    def __init__(self, answers: Sequence[Sequence[int]]):
        """Token ids are not negative; the oldest answer comes first."""
        self.num_answers = len(answers)
        self.num_tokens = sum(map(len, answers))
        border = np.array([_BORDER], np.int32)
        parts = [part for answer in answers for part in (np.asarray(answer, np.int32), border)]
        self._tokens = np.concatenate([border, *parts])  # [tokens and borders]
        order = np.argsort(self._tokens, kind="stable")
        self._ends = order  # [tokens and borders], by token, oldest first
        self._sorted = self._tokens[order]

    def to_dict(self) -> dict[str, Any]:
        """How much there is to find, and a key that changes with it."""
        digest = hashlib.sha256(self._tokens.astype("<i4").tobytes()).hexdigest()
        return {
            "num_answers": self.num_answers,
            "num_tokens": self.num_tokens,
            "sha256": digest,
        }

    def longest(self, context: Sequence[int]) -> Places:
        """The places of the longest end of the context that occurred; of length 0 if none did."""
        return next(reversed(list(self._matches(context))), _NOWHERE)

    def _matches(self, context: Sequence[int]) -> Iterator[Places]:
        """All different sets of places, each with the longest end of the context that has it."""
        if not context:
            return
        wanted = np.array([context[-1], context[-1] + 1], np.int32)  # else the array is copied
        first, last = self._sorted.searchsorted(wanted)
        ends = self._ends[first:last]
        most = min(len(context), MAX_MATCH)
        length = 1
        while len(ends):
            going_on = ends[:0]
            if length < most:
                going_on = ends[self._tokens[ends - length] == context[-length - 1]]
            if len(going_on) < len(ends):
                yield Places(ends, length)
            ends = going_on
            length += 1

    def after(self, places: Places, token_id: int) -> Places:
        """The places of the context with one more token, of length 0 where it never followed."""
        following = self._tokens[places.ends + 1]
        ends = places.ends[following == token_id] + 1
        return Places(ends, min(places.length + 1, MAX_MATCH)) if len(ends) else _NOWHERE

    def following(self, places: Places) -> set[int]:
        """Token ids that followed."""
        return set(self._tokens[places.ends + 1].tolist()) - {_BORDER}

    def propose(
        self,
        context: Sequence[int],
        *,
        num_nodes: int,
        depth: int,
        branching: int,
        min_match: int = 1,
        chance: Chance = certain,
    ) -> Proposal:
        """The draft with the best score among those of all matches, of the longest where they are equal.

        `chance` is how often a context of so many tokens has seen the next one; a node's chance after
        its parent is that times its share of what followed. Branching 1 gives chains.
        """
        best = Proposal(DraftTree(context[-1]), 0.0, 0)
        for places in reversed(list(self._matches(context))):
            if places.length < min_match:
                break
            # A float such as 0.7 * 10 may lie just below what is meant.
            most = min(num_nodes, int(places.length * NODES_PER_MATCHED_TOKEN + 1e-6))
            if most <= best.score:  # nor can a shorter match promise more
                break
            tree = self._grow(context[-1], places, most, depth, branching, chance)
            score = sum(tree.reach())
            if score > best.score:
                best = Proposal(tree, score, places.length)
        return best

    def _grow(
        self,
        root_token_id: int,
        places: Places,
        num_nodes: int,
        depth: int,
        branching: int,
        chance: Chance,
    ) -> DraftTree:
        tree = DraftTree(root_token_id, is_remembered=True)

        def expand(
            node: int, find: Callable[[], Places], reach: float
        ) -> Iterator[Follower[Callable[[], Places]]]:
            places = find()
            rate = chance(places.length)
            if reach * rate < MIN_REACH:
                return
            share = rate / len(places.ends)
            children = self._children(places)[:branching]
            probs = [share * count for _, count in children]
            tree.set_top_k(node, [token_id for token_id, _ in children], probs)
            for (token_id, _), prob in zip(children, probs, strict=True):
                if reach * prob < MIN_REACH:
                    break
                # Searched once the node is in the draft, which few are.
                yield Follower(token_id, prob, partial(self.after, places, token_id))

        grow_by_reach(tree, num_nodes, depth, lambda: places, expand)
        return tree

    def _children(self, places: Places) -> list[tuple[int, int]]:
        """What followed, with how often, most often first; the latest first where that is equal."""
        following = self._tokens[places.ends + 1].tolist()
        counts = Counter(reversed(following))
        del counts[_BORDER]
        return counts.most_common()
