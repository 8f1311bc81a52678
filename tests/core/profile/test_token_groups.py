"""Groups of tokens: each is in exactly one kind, and every count can be worked out in the head."""

import pytest

from core.modes.sd_eagle import EagleSettings
from core.profile.acceptance_scale import AS_MEASURED
from core.profile.tally import tally_of
from core.profile.token_groups import (
    BY,
    CODE,
    INSIDE,
    KINDS,
    NO_TEXT,
    NUMBER,
    PUNCTUATION,
    SPACE,
    START,
    Group,
    GroupedRun,
    groups_of,
    kinds_of,
)
from tests.core.profile.scripted_profiles import COSTS, chains, scripted_profile


@pytest.mark.parametrize(
    ("texts", "kinds"),
    [
        (["The", " ca", "t"], [START, START, INSIDE]),
        (["do", "n", "'t", " '", "so"], [START, INSIDE, INSIDE, PUNCTUATION, START]),
        (["don", "’", "t"], [START, INSIDE, INSIDE]),
        ([" 12", "3", "rd", " ½"], [NUMBER, NUMBER, INSIDE, NUMBER]),
        (["H", "100", "."], [START, NUMBER, PUNCTUATION]),
        ([" ", "\n\n", "\t a"], [SPACE, SPACE, START]),
        ([" (", "a", ")", "🎉", " €"], [PUNCTUATION, START, PUNCTUATION, PUNCTUATION, PUNCTUATION]),
        (["", "é", ""], [NO_TEXT, START, NO_TEXT]),
        (["e", "\N{COMBINING ACUTE ACCENT}", "t"], [START, INSIDE, INSIDE]),
        (["日本", "語", "一"], [START, INSIDE, INSIDE]),
        ([], []),
    ],
)
def test_a_token_is_of_the_kind_of_its_first_character(texts: list[str], kinds: list[str]) -> None:
    assert kinds_of(texts) == kinds


def test_what_stands_in_a_fenced_block_is_code() -> None:
    texts = ["So", ":\n", "```", "py", "\n", "x", " =", " 1", "\n", "```", "\n", "Do", "ne"]
    code = [CODE] * 9
    assert kinds_of(texts) == [START, PUNCTUATION, *code, START, INSIDE]


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("a\n~~~\nb\n~~~\nc", "..~~~~~~~~~~."),
        ("```\nb\n~~~\nc", "~" * 11),  # only its own ends it, and without an end it goes on
        ("````\n```\n````\nc", "~" * 14 + "."),  # nor does a shorter one
        ("```a`b\nc", "." * 8),  # backticks behind an opening one: no fence, but code within a line
        ("    ```\nc", "." * 9),  # too far indented
        ("  ```\nb\n   ```  \nc", "~" * 17 + "."),
        ("```\nb\n``` x\n", "~" * 12),  # a closing fence has nothing behind it
        ("a ```\nb", "." * 7),
    ],
)
def test_fences_are_those_of_commonmark(text: str, marked: str) -> None:
    kinds = kinds_of(list(text))
    assert "".join("~" if kind == CODE else "." for kind in kinds) == marked


def grouped(category: str = "chat", wrong: tuple[int, ...] = (1,)) -> GroupedRun:
    """Eight tokens of which one is drafted wrongly, two at a time, behind a prompt of 30."""
    text = list(range(10, 18))
    texts = ["The", " c", "at", " has", " 9", " lives", ".", ""]
    profile = scripted_profile(
        text, chains(text, 2, wrong), prompt=range(30), texts=texts, drafter={"depth": 2}
    )
    settings = EagleSettings(depth=2, fixed_size=True)
    return GroupedRun(profile, category, tally_of(profile, settings, COSTS, AS_MEASURED))


def by_name(groups: list[Group], by: str) -> dict[str, Group]:
    return {group.name: group for group in groups if group.by == by}


def test_groups_count_tokens_drafts_and_steps() -> None:
    run = grouped()
    assert [step.num_emitted for step in run.tally.steps] == [2, 3, 3]
    # Steps begin at The, at and lives; c is refused, 9 is undrafted, and so is the end.
    kinds = by_name(groups_of([run]), "kind")
    assert list(kinds) == [START, INSIDE, NUMBER, PUNCTUATION, NO_TEXT]
    assert kinds[START] == Group("kind", START, 4, 4, 3, 2, 5)
    assert kinds[INSIDE] == Group("kind", INSIDE, 1, 1, 1, 1, 3)
    assert kinds[NUMBER] == Group("kind", NUMBER, 1, 0, 0, 0, 0)
    assert kinds[PUNCTUATION] == Group("kind", PUNCTUATION, 1, 1, 1, 0, 0)
    assert kinds[NO_TEXT] == Group("kind", NO_TEXT, 1, 0, 0, 0, 0)
    assert (kinds[START].acceptance, kinds[START].tokens_a_step) == (0.75, 2.5)
    assert (kinds[NO_TEXT].acceptance, kinds[NO_TEXT].tokens_a_step) == (None, None)


def test_ranges_of_places_double() -> None:
    run = grouped()
    groups = groups_of([run])
    assert list(by_name(groups, "position")) == ["1-32"]
    context = by_name(groups, "context")
    assert list(context) == ["1-32", "33-64"]
    assert [group.num_tokens for group in context.values()] == [3, 5]
    text = list(range(200))
    long = scripted_profile(text, {}, texts=["a"] * 200)
    tally = tally_of(long, None, COSTS, AS_MEASURED)
    places = by_name(groups_of([GroupedRun(long, "", tally)]), "position")
    assert {name: group.num_tokens for name, group in places.items()} == {
        "1-32": 32, "33-64": 32, "65-128": 64, "129-256": 72,
    }  # fmt: skip


def test_categories_are_kept_apart_and_unknown_ones_left_out() -> None:
    groups = groups_of([grouped("chat"), grouped("code", wrong=()), grouped("")])
    categories = by_name(groups, "category")
    assert [(name, group.num_tokens) for name, group in categories.items()] == [
        ("chat", 8),
        ("code", 8),
    ]
    assert categories["code"].num_accepted == categories["code"].num_judged


def test_every_way_to_group_counts_every_token_and_step_once() -> None:
    runs = [grouped("a"), grouped("b", wrong=(0, 5))]
    groups = groups_of(runs)
    assert [group.by for group in groups] == sorted((each.by for each in groups), key=BY.index)
    for by in BY:
        own = by_name(groups, by).values()
        assert sum(group.num_tokens for group in own) == 16
        assert sum(group.num_accepted for group in own) == sum(r.tally.num_accepted for r in runs)
        assert sum(group.num_steps for group in own) == sum(r.tally.num_steps for r in runs)
        assert sum(group.num_emitted for group in own) == 16
    assert set(by_name(groups, "kind")) <= set(KINDS)
