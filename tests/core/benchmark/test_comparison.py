"""Who is asked what, and in which order."""

import pytest

from core.benchmark.comparison import PLAIN, compare, warm_up
from core.benchmark.measurement import Answer
from core.benchmark.questions import Question
from core.errors import DrafterUnavailableError
from tests.core.benchmark.scripted_runner import ScriptedRunner, answer_of, text_prompt

QUESTIONS = [Question(1, "chat", ("One?", "Two?")), Question(2, "edit", ("Three?",))]


def runners(order: list[str], other: Answer) -> list[ScriptedRunner]:
    return [
        ScriptedRunner(PLAIN, lambda prompt: answer_of([1, 2, 3]), order),
        ScriptedRunner("other", lambda prompt: other, order),
    ]


def test_every_runner_answers_the_same_prompts_with_plain_answers_in_between() -> None:
    both = runners([], answer_of([1, 2, 4]))
    turns = list(compare(both, QUESTIONS, text_prompt))
    assert both[0].prompts == both[1].prompts
    assert [prompt.text for prompt in both[1].prompts] == [
        "user: One?\n",
        "user: One?\nassistant: 1 2 3\nuser: Two?\n",
        "user: Three?\n",
    ]
    assert [[item.runner for item in turn] for turn in turns] == [[PLAIN, "other"]] * 3


def test_the_first_place_goes_round() -> None:
    order: list[str] = []
    list(compare(runners(order, answer_of([1])), QUESTIONS, text_prompt))
    assert order == [PLAIN, "other", "other", PLAIN, PLAIN, "other"]


def test_repeats_ask_everything_again() -> None:
    turns = list(compare(runners([], answer_of([1])), QUESTIONS, text_prompt, repeats=2))
    assert [(turn[0].question_id, turn[0].turn, turn[0].repeat) for turn in turns] == [
        (1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2), (1, 2, 2), (2, 1, 2),
    ]  # fmt: skip


def test_a_differing_answer_is_told_with_its_place() -> None:
    first = next(compare(runners([], answer_of([1, 2, 4])), QUESTIONS, text_prompt))
    plain, other = first
    assert plain.is_compared and plain.divergence is None
    assert other.divergence is not None and other.divergence.position == 2


def test_a_failed_answer_is_a_measurement_of_its_own_and_is_not_compared() -> None:
    turns = list(compare(runners([], Answer(error="broken")), QUESTIONS, text_prompt))
    assert [turn[1].error for turn in turns] == ["broken"] * 3
    assert not any(turn[1].is_compared for turn in turns)


def test_without_a_plain_answer_the_next_turn_is_not_asked() -> None:
    broken = ScriptedRunner(PLAIN, lambda prompt: Answer(error="broken"))
    turns = list(compare([broken], QUESTIONS, text_prompt))
    assert [(turn[0].question_id, turn[0].turn) for turn in turns] == [(1, 1), (2, 1)]


def test_answers_that_need_not_be_equal_are_not_compared() -> None:
    both = runners([], answer_of([4, 4]))
    both[1].gives_plain_text = False
    first = next(compare(both, QUESTIONS, text_prompt))
    assert not first[1].is_compared and first[1].divergence is None


def test_the_warm_up_asks_each_runner_once_and_names_one_that_fails() -> None:
    both = runners([], Answer(error="no memory"))
    with pytest.raises(DrafterUnavailableError, match=r"other fails .*\(no memory\)"):
        warm_up(both, text_prompt([{"role": "user", "content": "Hi"}]))
    assert [len(runner.prompts) for runner in both] == [1, 1]
