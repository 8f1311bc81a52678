"""The search in earlier answers against one by brute force; `tests.formats` holds its score against
the authors' own."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.drafters.suffix_index import SuffixIndex
from core.drafters.suffix_memory import MAX_MATCH

texts = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), max_size=5)
contexts = st.lists(st.integers(0, 4), min_size=1, max_size=8)


def followers(answers: list[list[int]], context: list[int]) -> Counter[int | None]:
    """What followed a context, None at the end of an answer."""
    width = len(context)
    return Counter(
        answer[i + width] if i + width < len(answer) else None
        for answer in answers
        for i in range(len(answer) - width + 1)
        if answer[i : i + width] == context
    )


def longest_end(answers: list[list[int]], context: list[int]) -> int:
    lengths = range(1, len(context) + 1)
    return max((n for n in lengths if followers(answers, context[-n:])), default=0)


@given(texts, contexts)
@settings(max_examples=300)
def test_the_longest_match_and_its_followers_are_those_of_the_texts(
    answers: list[list[int]], context: list[int]
) -> None:
    index = SuffixIndex(answers)
    places = index.longest(context)
    assert places.length == longest_end(answers, context)
    if places.length:
        found = followers(answers, context[-places.length :])
        assert len(places.ends) == found.total()
        assert index.following(places) == found.keys() - {None}


@given(texts, contexts, st.integers(0, 4))
@settings(max_examples=300)
def test_a_match_goes_on_with_the_next_token_as_if_it_were_searched_anew(
    answers: list[list[int]], context: list[int], token_id: int
) -> None:
    index = SuffixIndex(answers)
    places = index.longest(context)
    longer = index.after(places, token_id)
    if places.length and followers(answers, context[-places.length :])[token_id]:
        assert longer.length == places.length + 1
        assert sorted(longer.ends) == sorted(index.longest([*context, token_id]).ends)
    else:
        assert longer.length == 0


@given(texts, contexts)
@settings(max_examples=300)
def test_a_child_has_its_share_of_what_followed_times_the_chance_of_its_match(
    answers: list[list[int]], context: list[int]
) -> None:
    chances = {length: 1.0 - 0.5**length for length in range(1, MAX_MATCH + 1)}
    proposal = SuffixIndex(answers).propose(
        context, num_nodes=16, depth=16, branching=4, chance=chances.__getitem__
    )
    tree = proposal.tree
    matched = context[len(context) - proposal.match_length :]
    for node in range(1, len(tree)):
        before = matched + tree.path_token_ids(tree.parents[node])
        found = followers(answers, before)
        share = found[tree.token_ids[node]] / found.total()
        assert tree.draft_probs[node] == pytest.approx(chances[len(before)] * share)
    assert proposal.score == pytest.approx(sum(tree.reach()))
    assert tree.num_drafted <= proposal.match_length


def test_of_equal_scores_the_longer_match_wins_and_of_equal_counts_the_later_token() -> None:
    index = SuffixIndex([[1, 2, 7], [5, 2, 8], [6, 2, 9]])
    assert index.propose([4, 2], num_nodes=8, depth=8, branching=1).tree.token_ids == [2, 9]
    found = index.propose([5, 2], num_nodes=8, depth=8, branching=1)
    assert found.tree.token_ids == [2, 8] and found.match_length == 2


def test_a_draft_is_as_long_as_the_match_and_keeps_to_its_limits() -> None:
    index = SuffixIndex([list(range(40))])
    long = index.propose(list(range(10)), num_nodes=99, depth=99, branching=1)
    assert long.tree.token_ids[1:] == list(range(10, 20))
    assert index.propose(list(range(10)), num_nodes=4, depth=99, branching=1).tree.num_drafted == 4
    assert max(index.propose(list(range(10)), num_nodes=9, depth=3, branching=2).tree.depths) == 3
    assert not index.propose([3], num_nodes=9, depth=9, branching=1, min_match=2).tree.num_drafted


def test_no_context_reaches_from_one_answer_into_another() -> None:
    index = SuffixIndex([[1, 2], [3, 4]])
    assert index.longest([2, 3]).length == 1
    assert not index.propose([1, 2], num_nodes=4, depth=4, branching=4).tree.num_drafted


def test_nothing_is_found_where_nothing_is_remembered() -> None:
    index = SuffixIndex([])
    assert index.longest([1, 2]).length == 0
    assert not index.propose([1, 2], num_nodes=4, depth=4, branching=4).tree.num_drafted


def test_the_key_changes_with_the_tokens_and_where_an_answer_ends() -> None:
    keys = [
        SuffixIndex(answers).to_dict()["sha256"] for answers in ([[1, 2]], [[1], [2]], [[2, 1]])
    ]
    assert len(set(keys)) == 3
    assert SuffixIndex([[1, 2]]).to_dict()["sha256"] == keys[0]
