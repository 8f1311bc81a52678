"""Stop strings: the same end of the text however tokens and steps part it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import RunConfig
from core.decoding.stop_strings import Cut, StopText
from core.drafters.base import DraftLimits
from core.errors import InvalidSettingError
from core.trace.events import Accepted, Committed
from core.trace.stats import collect_stats
from core.trees.tree import DraftTree
from tests.scripted import ScriptedBackend, ScriptedDrafter, emitted, following, run_loop


class Pieces:
    """A text stream whose tokens are these texts."""

    def __init__(self, texts: Sequence[str], tail: str = ""):
        self._texts, self._tail = texts, tail

    def push(self, token_id: int) -> str:
        return self._texts[token_id]

    def finish(self) -> str:
        return self._tail


class Told:
    """What comes out of pieces, token by token."""

    def __init__(self, pieces: Sequence[str], *stops: str, least: int = 0, tail: str = ""):
        stream = StopText(Pieces(pieces, tail), stops, least)
        self.texts: list[str] = []
        for index in range(len(pieces)):
            self.texts.append(stream.push(index))
            if stream.cut is not None:
                break
        self.cut = stream.cut
        self.text = "".join(self.texts) + stream.finish()


def test_text_that_may_begin_a_stop_string_is_held_back_until_it_does_not() -> None:
    told = Told(["one ", "EN", "", "TER ", "E"], "END")
    assert told.texts == ["one ", "", "", "ENTER ", ""]
    assert told.text == "one ENTER E" and told.cut is None


def test_a_stop_string_across_tokens_leaves_nothing_of_itself() -> None:
    told = Told(["one E", "N", "D two", " three"], "END")
    assert told.texts == ["one ", "", ""]
    assert told.text == "one " and told.cut == Cut("END", "END two")


def test_the_stop_string_that_is_complete_first_ends_the_text() -> None:
    assert Told(["a long end"], "end", "long").cut == Cut("long", "long end")
    assert Told(["abcd"], "bc", "abc").cut == Cut("abc", "abcd"), "of equal ends the longest"
    assert Told(["aab"], "ab").text == "a"


def test_text_at_the_very_end_comes_with_what_was_held_back() -> None:
    assert Told(["one E"], "END", tail="?").text == "one E?"
    assert Told(["one END"], "END", tail="?").text == "one "


def test_stop_strings_within_the_least_number_of_tokens_are_passed_over() -> None:
    assert Told(["END ", "x END", " y", "EN", "D z"], "END", least=2).text == "END x END y"
    assert Told(["EN", "D x"], "END", least=1).text == "", "it ends behind the first token"
    # What was passed over is not found again where it may begin a longer one.
    assert Told(["xab", "z"], "ab", "xaby", least=1).text == "xabz"


def reference(text: str, stops: Sequence[str]) -> str:
    """Character by character."""
    for end in range(1, len(text) + 1):
        begins = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if begins:
            return text[: min(begins)]
    return text


@given(
    pieces=st.lists(st.text("abc", max_size=4), max_size=8),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_the_text_does_not_hang_on_how_tokens_part_it(pieces: list[str], stops: list[str]) -> None:
    told = Told(pieces, *stops)
    assert told.text == reference("".join(pieces), stops)
    for count in range(len(told.texts)):  # what is out stays
        assert told.text.startswith("".join(told.texts[:count]))
    if told.cut is not None:
        whole = "".join(pieces[: len(told.texts)])
        assert told.text + told.cut.text == whole and told.cut.text.startswith(told.cut.stop)


SEQUENCE = [(7 * index + 3) % 50 for index in range(200)]  # written as "3 10 17 24 31 38 45 2 9 "


def oracle_drafter() -> ScriptedDrafter:
    def make_tree(token_ids: list[int], limits: DraftLimits) -> DraftTree:
        tree = DraftTree(token_ids[-1])
        node = 0
        for offset in range(min(4, limits.depth)):
            node = tree.add(node, SEQUENCE[len(token_ids) + offset], 1.0)
        return tree

    return ScriptedDrafter(make_tree)


def test_no_token_behind_the_stop_string_is_emitted_and_the_trace_keeps_it() -> None:
    target = ScriptedBackend(following(SEQUENCE, 50), 50)
    events, reason = run_loop(
        target, oracle_drafter(), SEQUENCE[:1], mode="ngram", max_new_tokens=20, stop=["24 31"]
    )
    assert reason == "stop_string"
    assert emitted(events) == SEQUENCE[1:5]
    accepted = next(event for event in events if isinstance(event, Accepted))
    assert accepted.path == [1, 2, 3, 4] and accepted.next_token_id == SEQUENCE[5]
    committed = next(event for event in events if isinstance(event, Committed))
    assert committed.texts == ["10 ", "17 ", "", ""]
    assert committed.nodes == [1, 2, 3, 4] and committed.sources == ["accepted"] * 4
    assert committed.cache_length == 5
    stats = collect_stats(events)
    assert (stats.num_tokens, stats.num_steps, target.num_forwards) == (4, 1, 1)


@pytest.mark.parametrize("stop", ["17", "7 2", "24 31 38", "2 9", "never"])
def test_every_border_of_steps_gives_the_text_of_plain_decoding(stop: str) -> None:
    settings = {"max_new_tokens": 12, "stop": [stop]}
    plain, plain_reason = run_loop(
        ScriptedBackend(following(SEQUENCE, 50), 50), None, SEQUENCE[:1], **settings
    )
    drafted, reason = run_loop(
        ScriptedBackend(following(SEQUENCE, 50), 50), oracle_drafter(), SEQUENCE[:1],
        mode="ngram", **settings,
    )  # fmt: skip
    texts = [
        "".join(text for event in events if isinstance(event, Committed) for text in event.texts)
        for events in (plain, drafted)
    ]
    assert texts[0] == texts[1] and emitted(plain) == emitted(drafted)
    assert reason == plain_reason == ("length" if stop == "never" else "stop_string")
    assert stop not in texts[0]


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ([""], "stop has a text of 0 characters; give 1 to 256"),
        (["x" * 257], "stop has a text of 257 characters; give 1 to 256"),
        (["x"] * 17, "stop has 17 texts; give at most 16"),
        ([3], "give a list of str"),
        (["\ud800"], "has half of a character"),
    ],
)
def test_stop_strings_that_are_none_are_refused(stop: list[object], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        RunConfig.from_dict({"stop": stop})


def test_one_stop_string_may_stand_alone() -> None:
    assert RunConfig.from_dict({"stop": "\n"}).stop == ("\n",)
