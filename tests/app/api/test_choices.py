"""What events say of a choice."""

import math
from typing import Any

from app.api.choices import NO_LOGPROB, Choice, usage
from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    RunFinished,
    TokenTexts,
    Verified,
)

AT: dict[str, Any] = {"step": 1, "t_start_s": 0.0, "t_end_s": 0.0}


def events_of_a_step(emitted: list[int], nodes: list[int]) -> list[Any]:
    """A root 9 with children 1 and 2; 1 has the children 3 and 4. Accepted are 1 and 4, then comes 5."""
    return [
        TokenTexts(**AT, token_ids=[1, 2, 3, 4, 5], texts=["a", "b", "<0xE2><0x82>", "d", "e"]),
        Drafted(
            **AT, drafter="tree", token_ids=[9, 1, 2, 3, 4], parents=[-1, 0, 0, 1, 1],
            depths=[0, 1, 1, 2, 2], draft_probs=[1.0] * 5, top_k_token_ids=[[]] * 5,
            top_k_probs=[[]] * 5,
        ),
        Verified(
            **AT, num_rows=5, target_probs=[1.0, 0.5, 0.25, 0.0, 0.125],
            top_k_token_ids=[[1, 2], [3, 4], [5, 1], [5, 2], [2, 5]],
            top_k_probs=[[0.5, 0.25], [0.5, 0.125], [0.5, 0.1], [0.5, 0.1], [0.5, 0.0]],
            entropies_nats=[0.0] * 5,
        ),
        Accepted(
            **AT, path=[1, 4], tested=[1, 4], next_token_id=5, next_source="bonus", next_prob=0.0625
        ),
        Committed(
            **AT, token_ids=emitted, texts=["a", "d", "e"][: len(emitted)],
            sources=["accepted", "accepted", "bonus"][: len(emitted)], nodes=nodes, cache_length=3,
            step_s=0.0,
        ),
    ]  # fmt: skip


def test_each_token_has_the_row_of_what_stood_before_it() -> None:
    choice = Choice(2)
    *_, piece = [choice.add(event) for event in events_of_a_step([1, 4, 5], [1, 4, -1])]
    assert piece is not None and piece.text == "ade"
    told = [entry.chosen for entry in piece.logprobs]
    assert told == [("a", math.log(0.5)), ("d", math.log(0.125)), ("e", math.log(0.0625))]
    best = [[other.text for other in entry.best] for entry in piece.logprobs]
    assert best == [["a", "b"], ["<0xE2><0x82>", "d"], ["b", "e"]]
    assert piece.logprobs[1].best[0].utf8 == [0xE2, 0x82]
    assert piece.logprobs[2].best[1].logprob == NO_LOGPROB, "JSON has no word for minus infinity"


def test_what_a_stop_string_cuts_is_not_told() -> None:
    choice = Choice(0)
    *_, piece = [choice.add(event) for event in events_of_a_step([1, 4], [1, 4])]
    assert piece is not None and [entry.chosen.text for entry in piece.logprobs] == ["a", "d"]
    assert all(entry.best == [] for entry in piece.logprobs)
    finished = RunFinished(
        **AT, reason="stop_string", tail_text="", totals={}, peak_memory_bytes=0, stop="d"
    )
    assert choice.add(finished) is None
    assert (choice.finish_reason, choice.stop_reason, choice.num_tokens) == ("stop", "d", 2)
    assert choice.speculation is not None
    assert choice.speculation["acceptance_histogram"] == [0, 0, 1]
    assert choice.speculation["mean_acceptance_length"] == 3.0
    assert choice.speculation["draft_acceptance_rate"] == 0.5


def test_held_back_text_comes_with_the_end_and_a_stop_is_no_end() -> None:
    choice = Choice(None)
    end: dict[str, Any] = {"totals": {}, "peak_memory_bytes": 0}
    piece = choice.add(RunFinished(**AT, reason="eos", tail_text="EN", **end))
    assert piece is not None and piece.text == "EN" and choice.finish_reason == "stop"
    stopped = Choice(None)
    assert stopped.add(RunFinished(**AT, reason="stopped", tail_text="EN", **end)) is None
    assert stopped.finish_reason is None and stopped.failure is not None
    assert stopped.speculation is None, "unknown, not zero"


def test_a_prompt_counts_once_for_its_choices() -> None:
    choices = [Choice(None) for _ in range(4)]
    for choice, length in zip(choices, (3, 3, 5, 5), strict=True):
        choice.prompt_token_ids, choice.num_tokens = [0] * length, 2
    told = usage(choices, 2)
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (8, 8, 16)
