"""A suffix automaton of a growing token sequence (Blumer et al. 1985), with counts.

Every state stands for a set of substrings that end at the same places; `link` leads to the longest
suffix that also ends elsewhere. Appending a token takes constant time on average.
"""

from typing import NamedTuple

# Counts are raised along so many suffix links. Chains are short in real text; the bound keeps a
# text of one repeated token from costing quadratic time, at the price of its shortest contexts.
_MAX_COUNTED_LINKS = 64
# So many next tokens of a state are kept in the order of their counts.
_NUM_FREQUENT = 16


class Match(NamedTuple):
    """A context that occurred before: an automaton state and how many tokens of it match."""

    state: int
    length: int


class SuffixAutomaton:
    """States are indices; state 0 is the empty context."""

    def __init__(self) -> None:
        self.continuations: list[dict[int, int]] = [{}]
        """For each state, the state reached by each next token."""
        self.counts: list[int] = [0]
        """How often a state's substrings occurred so far."""
        self.frequent: list[list[int]] = [[]]
        """For each state, its most frequent next tokens, best first; all where they are few."""
        self._links: list[int] = [-1]
        self._lengths: list[int] = [0]
        self._last = 0

    def append(self, token_id: int) -> None:
        """Adds a token to the end of the sequence."""
        continuations, links, lengths = self.continuations, self._links, self._lengths
        before = self._last
        new = self._add_state({}, lengths[before] + 1, count=0, frequent=[])
        state = before
        while state >= 0 and token_id not in continuations[state]:
            continuations[state][token_id] = new
            state = links[state]
        if state < 0:
            links[new] = 0
        else:
            target = continuations[state][token_id]
            if lengths[target] == lengths[state] + 1:
                links[new] = target
            else:
                links[new] = self._split(state, token_id, target)
        self._last = new
        self._count(new)
        self._rank(before, token_id)

    def _add_state(
        self, continuations: dict[int, int], length: int, count: int, frequent: list[int]
    ) -> int:
        self.continuations.append(continuations)
        self.counts.append(count)
        self.frequent.append(frequent)
        self._links.append(0)
        self._lengths.append(length)
        return len(self._lengths) - 1

    def _split(self, state: int, token_id: int, target: int) -> int:
        """Gives the shorter substrings of `target` a state of their own."""
        continuations, links = self.continuations, self._links
        clone = self._add_state(
            continuations[target].copy(),
            self._lengths[state] + 1,
            self.counts[target],
            self.frequent[target].copy(),
        )
        links[clone] = links[target]
        links[target] = clone
        while state >= 0 and continuations[state].get(token_id) == target:
            continuations[state][token_id] = clone
            state = links[state]
        return clone

    def _count(self, state: int) -> None:
        for _ in range(_MAX_COUNTED_LINKS):
            if state <= 0:
                return
            self.counts[state] += 1
            state = self._links[state]

    def _rank(self, state: int, token_id: int) -> None:
        """Moves a token up among the frequent ones of a context and of all its suffixes."""
        counts = self.counts
        for _ in range(_MAX_COUNTED_LINKS):
            if state < 0:
                return
            following, tokens = self.continuations[state], self.frequent[state]
            count = counts[following[token_id]]
            if token_id in tokens:
                place = tokens.index(token_id)
            elif len(tokens) < _NUM_FREQUENT:
                place = len(tokens)
                tokens.append(token_id)
            elif counts[following[tokens[-1]]] < count:
                place = len(tokens) - 1
                tokens[place] = token_id
            else:
                place = 0
            while place and counts[following[tokens[place - 1]]] < count:
                tokens[place] = tokens[place - 1]
                tokens[place - 1] = token_id
                place -= 1
            state = self._links[state]

    def longest_match(self) -> Match:
        """The longest suffix of the sequence that occurred before; length 0 if there is none."""
        return self.shorter(Match(self._last, self._lengths[self._last]))

    def num_continued(self, state: int) -> int:
        """How often a state's substrings occurred with a token behind them; at least 1."""
        following, tokens = self.continuations[state], self.frequent[state]
        if len(following) == len(tokens):
            counts = self.counts
            return sum([counts[following[token_id]] for token_id in tokens]) or 1
        # Too many to add up at every step: at most the last occurrence has none behind it yet.
        return self.counts[state]

    def shorter(self, match: Match) -> Match:
        """The longest shorter context with more occurrences; length 0 at the end."""
        state = self._links[match.state]
        return Match(state, self._lengths[state]) if state > 0 else Match(0, 0)

    def extend(self, match: Match, token_id: int) -> Match | None:
        """The match after one more token; None where it never followed."""
        state = self.continuations[match.state].get(token_id)
        return None if state is None else Match(state, match.length + 1)
