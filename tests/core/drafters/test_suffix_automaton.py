"""The suffix automaton against a search by brute force."""

from hypothesis import given, settings
from hypothesis import strategies as st

from core.drafters.suffix_automaton import SuffixAutomaton

texts = st.lists(st.integers(0, 3), min_size=1, max_size=40)


def automaton_of(token_ids: list[int]) -> SuffixAutomaton:
    automaton = SuffixAutomaton()
    for token_id in token_ids:
        automaton.append(token_id)
    return automaton


def occurrences(token_ids: list[int], part: list[int]) -> int:
    width = len(part)
    return sum(token_ids[i : i + width] == part for i in range(len(token_ids) - width + 1))


@given(texts)
@settings(max_examples=300)
def test_the_longest_match_is_the_longest_suffix_seen_before(token_ids: list[int]) -> None:
    lengths = range(len(token_ids))
    expected = max(
        n for n in lengths if occurrences(token_ids, token_ids[len(token_ids) - n :]) > 1 or n == 0
    )
    assert automaton_of(token_ids).longest_match().length == expected


@given(texts)
@settings(max_examples=300)
def test_followers_and_their_counts_are_those_of_the_text(token_ids: list[int]) -> None:
    automaton = automaton_of(token_ids)
    match = automaton.longest_match()
    while match.length:
        context = token_ids[len(token_ids) - match.length :]
        for token_id in range(4):
            expected = occurrences(token_ids, [*context, token_id])
            longer = automaton.extend(match, token_id)
            assert (0 if longer is None else automaton.counts[longer.state]) == expected
        match = automaton.shorter(match)


def test_one_token_repeated_for_ever_stays_fast() -> None:
    automaton = automaton_of([7] * 20_000)
    assert automaton.longest_match().length == 19_999
    assert len(automaton.counts) <= 40_000


@given(st.lists(st.integers(0, 3), min_size=1, max_size=120))
@settings(max_examples=300)
def test_next_tokens_stand_in_the_order_of_their_counts(token_ids: list[int]) -> None:
    automaton = automaton_of(token_ids)
    match = automaton.longest_match()
    while match.length:
        following = automaton.continuations[match.state]
        counts = [automaton.counts[following[t]] for t in automaton.frequent[match.state]]
        assert counts == sorted(counts, reverse=True)
        assert set(automaton.frequent[match.state]) == set(following)
        assert automaton.num_continued(match.state) == sum(counts)
        match = automaton.shorter(match)
