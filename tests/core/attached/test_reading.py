"""What the streams of servers become: steps, tokens, totals, and what stays unknown."""

from typing import Any

import pytest

from core.attached.event_stream import StreamError
from core.attached.reading import StreamReader
from core.trace.events import Committed, Event, Observed, Prefilled, ServerTotals, TokenTexts
from core.trace.stats import collect_stats, differences
from tests.core.attached.streams import (
    Stream,
    read,
    recorded,
    sglang_chunk,
    sglang_end,
    steps_of,
)


def of_kind(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_llama_servers_steps_are_the_tokens_with_one_time() -> None:
    reader, events = read(recorded("llama-draft"))
    assert steps_of(events) == [
        (1, 0, 0, ["Hello"]),
        (1, 4, 4, [" there", "!", " I", "'m", " here"]),
        (1, 4, 4, [" to", " help", " with", " any", " kind"]),
        (1, 4, 4, [" of", " math", " or", " science", " project"]),
        (1, 4, 4, [".", " What", " can", " I", " help"]),
        (1, 4, 4, [" you", " with", "?", ""]),
    ]
    committed = of_kind(events, Committed)
    assert committed[1].sources == ["accepted"] * 4 + ["bonus"]
    assert committed[5].sources == ["accepted"] * 4, "the end of the text was drafted too"
    assert committed[5].token_ids[-1] == 2
    assert reader.reason() == "eos"


def test_a_step_of_llama_server_took_what_its_own_clock_says() -> None:
    stream = recorded("llama-draft")
    _, events = read(stream)
    stats, (totals,) = collect_stats(events), of_kind(events, ServerTotals)
    timings = stream.events[-1][1]["timings"]
    assert totals.told["steps_s"] == timings["predicted_ms"] / 1e3
    assert stats.steps_s == pytest.approx(timings["predicted_ms"] / 1e3)
    assert (stats.num_tokens, stats.num_untimed, stats.num_steps) == (25, 1, 6)
    assert stats.tokens_per_s == pytest.approx(24e3 / timings["predicted_ms"])
    assert (stats.num_drafted, stats.num_tested, stats.num_accepted) == (20, 20, 20)
    assert totals.told["num_drafted"] == 20 and differences(totals) == []
    (prefilled,) = of_kind(events, Prefilled)
    assert prefilled.num_tokens + prefilled.num_reused + 1 == len(stream.prompt_token_ids)


def test_a_refused_draft_shows_by_the_targets_own_token() -> None:
    def chunk(text: str, count: int, ms: float, drafted: int, accepted: int) -> dict[str, Any]:
        timings = {"predicted_n": count, "predicted_ms": ms}
        drafts = {"draft_n": drafted, "draft_n_accepted": accepted}
        return {"content": text, "tokens": [count], "timings": {**timings, **drafts}}

    events = [
        chunk("a", 1, 0.001, 0, 0), chunk("b", 2, 5.0, 4, 1), chunk("c", 3, 5.0, 4, 1),
        chunk("d", 4, 9.0, 4, 1),
    ]  # fmt: skip
    reader, made = read(Stream([], 9, True, [(0.1, event) for event in events]))
    assert [one.sources for one in of_kind(made, Committed)] == [
        ["plain"], ["accepted", "recovered"], ["plain"],
    ]  # fmt: skip
    assert [one.num_tested for one in of_kind(made, Observed)] == [0, 2, 0]
    assert reader.stats.acceptance_rate == 0.5


def test_prompt_lookup_of_llama_server_drafts_where_it_finds_something() -> None:
    _, events = read(recorded("llama-ngram"))
    steps = steps_of(events)
    assert steps[1] == (1, 8, 8, ["4", ",", " ", "5", ",", " ", "6", ".", "\n"])
    assert {step[:3] for step in (steps[0], *steps[2:])} == {(1, 0, 0)}
    (names,) = [one for one in of_kind(events, TokenTexts) if 36 in one.token_ids]
    assert names.texts[names.token_ids.index(36)] == "4"


def test_text_that_waits_for_a_whole_character_hides_no_step() -> None:
    """Of a character of three tokens only the last has a text and tells its id."""
    _, events = read(recorded("llama-held-back"))
    stats = collect_stats(events)
    first = of_kind(events, Committed)[0]
    assert first.token_ids[:2] == [-1, -1] and first.texts == ["", "", "🌍"]
    (totals,) = of_kind(events, ServerTotals)
    assert differences(totals) == [] and stats.num_tokens == 30
    assert stats.num_steps == 30 - stats.num_accepted, "the end cuts no step of this answer"
    assert stats.origins["num_tested"] == "unknown", "of steps that came together nobody knows it"
    assert "untold" in {source for one in of_kind(events, Committed) for source in one.sources}


def test_vllms_chunks_are_steps_which_its_own_histogram_confirms() -> None:
    reader, events = read(recorded("vllm-ngram"))
    assert [texts for *_, texts in steps_of(events)] == [
        [" "],
        ["4", ",", " ", "5", ","],
        [" ", "6", ".", " ", "1"],
        [",", " ", "2", ",", " "],
        ["3", ",", " ", "4", ","],
        [" ", "5", ","],
    ]
    (totals,) = of_kind(events, ServerTotals)
    assert totals.confirms_steps and differences(totals) == []
    stats = collect_stats(events)
    assert (stats.num_steps, stats.num_drafted, stats.num_tested, stats.num_accepted) == (
        6, 20, 20, 20,
    )  # fmt: skip
    assert stats.acceptance_length == 4.0
    origins = stats.to_dict()["origins"]
    assert (origins["num_steps"], origins["acceptance_length"]) == ("derived", "derived")
    assert (origins["num_accepted"], origins["draft_s"]) == ("told", "unknown")
    assert reader.reason() == "length"
    probs = of_kind(events, Observed)[1].target_probs
    assert len(probs) == 5 and all(0 < prob <= 1 for prob in probs)


def test_chunks_that_were_joined_are_a_bound_and_no_steps() -> None:
    stream = recorded("vllm-ngram")
    joined = [*stream.events]
    (_, first), (t_s, second) = joined[1], joined[2]
    one, other = first["choices"][0], second["choices"][0]
    choice = {
        **other,
        "text": one["text"] + other["text"],
        "token_ids": one["token_ids"] + other["token_ids"],
        "logprobs": None,
    }
    joined[1:3] = [(t_s, {**second, "choices": [choice]})]
    _, events = read(stream._replace(events=joined))
    stats, (totals,) = collect_stats(events), of_kind(events, ServerTotals)
    assert not totals.confirms_steps
    assert (stats.num_steps, stats.origins["num_steps"]) == (5, "at least")
    assert stats.to_dict()["origins"]["acceptance_length"] == "at most"
    assert stats.num_accepted == 20, "the totals stay what the server says"
    assert "".join(of_kind(events, Committed)[1].texts) == choice["text"]


def test_sglangs_steps_are_its_chunks_and_their_number_its_own() -> None:
    chunks = [
        sglang_chunk("a", 1), sglang_chunk("bcd", 4), sglang_chunk("e", 5),
        sglang_chunk("fg", 7, "length"),
        *sglang_end(
            7, spec_verify_ct=3, spec_num_correct_drafts=3, spec_num_proposed_drafts=9,
            spec_correct_drafts_histogram=[1, 1, 1],
        ),
    ]  # fmt: skip
    _, events = read(Stream([], 7, True, [(0.1 * i, one) for i, one in enumerate(chunks)]))
    stats, (totals,) = collect_stats(events), of_kind(events, ServerTotals)
    assert totals.fields == ["usage", "sglext.spec_tokens_details"] and totals.confirms_steps
    assert (stats.num_steps, stats.num_drafted, stats.num_accepted) == (4, 9, 3)
    assert stats.origins["num_steps"] == "told" and stats.acceptance_length == 7 / 4
    committed = of_kind(events, Committed)
    assert committed[1].texts == ["bcd", "", ""] and committed[1].token_ids == [-1] * 3
    assert committed[1].sources == ["accepted", "accepted", "untold"]


def test_sglangs_joined_chunks_leave_its_own_number_of_steps() -> None:
    """Names of versions until about 0.5.9."""
    end = sglang_end(7, spec_verify_ct=3, spec_accept_token_num=3, spec_draft_token_num=9)
    chunks = [sglang_chunk("a", 1), sglang_chunk("bcdefg", 7, "stop"), *end]
    reader, events = read(Stream([], 9, True, [(0.1 * i, one) for i, one in enumerate(chunks)]))
    stats = collect_stats(events)
    assert (stats.num_steps, stats.num_drafted, stats.num_accepted) == (4, 9, 3)
    assert stats.acceptance_rate is None, "how many were tested is unknown, and not zero"
    assert reader.reason() == "eos"


def test_of_a_server_that_tells_usage_alone_nothing_is_made_up() -> None:
    def piece(text: str) -> dict[str, Any]:
        return {"choices": [{"delta": {"content": text}}]}

    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}
    events = [piece("a b"), piece(" c"), end, usage]
    reader, made = read(Stream([], 20, None, [(0.1 * i, one) for i, one in enumerate(events)]))
    stats = collect_stats(made)
    assert (stats.num_tokens, stats.origins["num_tokens"]) == (9, "told")
    told = stats.to_dict()
    for name in ("num_steps", "num_drafted", "num_tested", "num_accepted", "acceptance_length"):
        assert told[name] is None, name
    assert [one.sources for one in of_kind(made, Committed)] == [["untold"], ["untold"]]
    assert reader.reason() == "eos"


def test_lm_studios_drafts_bound_its_steps() -> None:
    def piece(text: str) -> dict[str, Any]:
        return {"choices": [{"delta": {"content": text}}]}

    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    drafts = {"total_draft_tokens_count": 8, "accepted_draft_tokens_count": 5}
    for place in ("usage", "stats"):
        told = {"usage": {"completion_tokens": 9, "prompt_tokens": 3}}
        told[place] = {**told.get(place, {}), **drafts}
        events = [piece("a"), piece("b"), end, {"choices": [], **told}]
        _, made = read(Stream([], 20, None, [(0.1, one) for one in events]))
        stats = collect_stats(made)
        assert (stats.num_drafted, stats.num_accepted, stats.num_steps) == (8, 5, 4)
        assert stats.to_dict()["origins"]["acceptance_length"] == "at most"


def test_a_server_that_drafts_nothing_has_a_forward_for_every_token() -> None:
    chunks = [sglang_chunk("a", 1), sglang_chunk("bcd", 4, "length"), *sglang_end(4)]
    _, events = read(Stream([], 4, False, [(0.1, one) for one in chunks]))
    stats = collect_stats(events)
    assert (stats.num_steps, stats.acceptance_length) == (4, 1.0)
    assert (stats.num_drafted, "num_steps" in stats.origins) == (0, False)
    assert {source for one in of_kind(events, Committed) for source in one.sources} == {"plain"}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"choices": [3]}, "no list of objects"),
        ({"choices": [{"text": 3}]}, "a text that is none"),
        ({"choices": [{"text": "a", "token_ids": ["x"]}]}, "token ids that are none"),
        ({"choices": [{"text": "a"}], "usage": {"completion_tokens": -1}}, "counts -1 tokens"),
        ({"content": "a", "tokens": [1], "timings": {"predicted_ms": "x"}}, "a time of x ms"),
        (
            {"choices": [{"text": "a", "token_ids": [1, 2]}], "usage": {"completion_tokens": 1}},
            "counts 1 tokens and tells 2 ids",
        ),
        ({"choices": [{"text": "a"}], "usage": {"prompt_tokens": 4}}, "read 4 prompt tokens"),
    ],
)
def test_what_no_stream_can_say_is_refused(event: dict[str, Any], words: str) -> None:
    reader = StreamReader([1, 2, 3], None, 8)
    with pytest.raises(StreamError, match=words):
        list(reader.add(event, 0.1))


@pytest.mark.parametrize(("finish", "words"), [(None, "without saying why"), ("odd", "for 'odd'")])
def test_an_end_that_is_none_is_an_error(finish: str | None, words: str) -> None:
    stream = Stream([], 4, None, [(0.1, sglang_chunk("a", 1, finish))])
    reader, _ = read(stream)
    with pytest.raises(StreamError, match=words):
        reader.reason()


def test_a_limit_that_was_not_asked_for_is_the_servers_context() -> None:
    reader, _ = read(Stream([], 40, None, [(0.1, sglang_chunk("a", 1, "length"))]))
    assert reader.reason() == "context"


def test_text_that_comes_without_a_token_is_not_lost() -> None:
    chunks = [
        sglang_chunk("a", 1),
        sglang_chunk("b", 1),
        sglang_chunk("c", 2),
        sglang_chunk("d", 2),
    ]
    reader, events = read(Stream([], 4, None, [(0.1, one) for one in chunks]))
    assert [one.texts for one in of_kind(events, Committed)] == [["a"], ["bc"]]
    assert reader.tail_text == "d" and reader.stats.num_tokens == 2
