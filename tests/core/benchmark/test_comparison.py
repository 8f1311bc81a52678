"""Who is asked what, and in which order."""

import pytest

from core.benchmark.comparison import PLAIN, compare, failed_task, tasks_of, warm_up
from core.benchmark.measurement import Answer, Measurement
from core.benchmark.meter import Meter
from core.benchmark.questions import Question
from core.errors import DrafterUnavailableError
from core.runtime.energy import EnergyMeter
from tests.core.benchmark.scripted_runner import ScriptedRunner, answer_of, text_prompt

QUESTIONS = [Question(1, "chat", ("One?", "Two?")), Question(2, "edit", ("Three?",))]


def runners(order: list[str], other: Answer) -> list[ScriptedRunner]:
    return [
        ScriptedRunner(PLAIN, lambda prompt: answer_of([1, 2, 3]), order),
        ScriptedRunner("other", lambda prompt: other, order),
    ]


def measured(runners: list[ScriptedRunner], repeats: int = 1) -> list[Measurement]:
    meter = Meter(EnergyMeter([]))
    return [
        item
        for task in tasks_of(QUESTIONS, repeats)
        for item in compare(runners, task, text_prompt, meter)
    ]


def test_every_runner_answers_the_same_prompts_with_plain_answers_in_between() -> None:
    both = runners([], answer_of([1, 2, 4]))
    items = measured(both)
    assert both[0].prompts == both[1].prompts
    assert [prompt.text for prompt in both[1].prompts] == [
        "user: One?\n",
        "user: One?\nassistant: 1 2 3\nuser: Two?\n",
        "user: Three?\n",
    ]
    assert [item.runner for item in items] == [PLAIN, "other"] * 3


def test_the_first_place_goes_round() -> None:
    order: list[str] = []
    measured(runners(order, answer_of([1])))
    assert order == [PLAIN, "other", "other", PLAIN, PLAIN, "other"]


def test_repeats_ask_everything_again() -> None:
    items = measured(runners([], answer_of([1])), repeats=2)
    assert [(item.question_id, item.turn, item.repeat) for item in items[::2]] == [
        (1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2), (1, 2, 2), (2, 1, 2),
    ]  # fmt: skip


def test_a_differing_answer_is_told_with_its_place() -> None:
    plain, other, *_ = measured(runners([], answer_of([1, 2, 4])))
    assert plain.is_compared and plain.divergence is None
    assert other.divergence is not None and other.divergence.position == 2


def test_a_failed_answer_is_a_measurement_of_its_own_and_is_not_compared() -> None:
    others = measured(runners([], Answer(error="broken")))[1::2]
    assert [item.error for item in others] == ["broken"] * 3
    assert not any(item.is_compared for item in others)


def test_without_a_plain_answer_the_next_turn_is_not_asked() -> None:
    broken = ScriptedRunner(PLAIN, lambda prompt: Answer(error="broken"))
    assert [(item.question_id, item.turn) for item in measured([broken])] == [(1, 1), (2, 1)]


def test_answers_that_need_not_be_equal_are_not_compared() -> None:
    both = runners([], answer_of([4, 4]))
    both[1].gives_plain_text = False
    other = measured(both)[1]
    assert not other.is_compared and other.divergence is None


def test_the_warm_up_asks_each_runner_once_and_names_one_that_fails() -> None:
    both = runners([], Answer(error="no memory"))
    with pytest.raises(DrafterUnavailableError, match=r"other fails .*\(no memory\)"):
        warm_up(both, text_prompt)
    assert [len(runner.prompts) for runner in both] == [1, 1]


def test_a_task_that_nobody_answered_is_a_failure_of_each_runner() -> None:
    task = next(tasks_of(QUESTIONS))
    items = failed_task(task, [PLAIN, "other"], "its workers ended")
    assert [(item.runner, item.question_id, item.error) for item in items] == [
        (PLAIN, 1, "its workers ended"), ("other", 1, "its workers ended"),
    ]  # fmt: skip
