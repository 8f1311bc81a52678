"""Several requests at once: percentiles, goodput, and who can."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from core.benchmark.load import (
    LoadTask,
    Percentiles,
    load_of,
    load_table,
    load_tasks,
    measure_load,
    percentiles,
)
from core.benchmark.measurement import Answer, Emission
from core.benchmark.questions import Question
from core.benchmark.runners import EngineRunner
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.errors import InvalidSettingError
from tests.core.benchmark.scripted_runner import ScriptedRunner, answer_of

QUESTIONS = tuple(Question(number, "chat", ["Hi"]) for number in range(4))


def answer(*emissions: tuple[float, int]) -> Answer:
    return Answer(emissions=[Emission(*one) for one in emissions], total_s=emissions[-1][0])


def test_percentiles_are_those_of_all_values() -> None:
    assert percentiles(range(101)) == Percentiles(50, 95, 99)
    assert percentiles([7]) == Percentiles(7, 7, 7)
    assert percentiles([]) == Percentiles(None, None, None)


def test_latencies_and_goodput_of_answers() -> None:
    task = LoadTask(2, QUESTIONS, (("ttft", 150.0), ("tpot", 60.0)))
    quick = answer((0.1, 1), (0.2, 3), (0.3, 1))
    late = answer((0.2, 1), (0.3, 4))
    slow = answer((0.1, 1), (0.5, 2))
    load = load_of("x", task, [quick, late, slow, Answer(error="no")], 2.0)
    assert (load.num_answers, load.num_failed, load.num_tokens) == (3, 1, 13)
    assert load.first_ms.p50 == pytest.approx(100)
    assert load.gap_ms == pytest.approx(Percentiles(100, 355, 391))
    assert load.per_token_ms.p50 == pytest.approx(50)
    assert load.num_good == 1, "one began late, and one was slow"
    (table,) = load_table([load])
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert (cells["tokens/s"], cells["answers/s"], cells["good answers/s"]) == (
        "6.5",
        "1.50",
        "0.50",
    )
    assert load.to_dict()["first_ms"]["p50"] == pytest.approx(100)


def test_without_goals_no_goodput_is_told() -> None:
    load = load_of("x", LoadTask(1, QUESTIONS, ()), [answer((0.1, 1))], 1.0)
    assert load.num_good is None and load.gap_ms.p50 is None
    (table,) = load_table([load])
    assert "good answers/s" not in table.columns and load_table([]) == []


def test_who_answers_one_at_a_time_is_left_out() -> None:
    asked: list[Any] = []

    class Together(ScriptedRunner):
        def answer_together(self, prompts: Sequence[Prompt], size: int) -> list[Answer]:  # type: ignore[override]
            asked.append((len(prompts), size))
            return [answer_of([1, 2]) for _ in prompts]

    runners = [
        ScriptedRunner("alone", lambda _: answer_of([1])),
        Together("both", lambda _: answer_of([1])),
    ]
    prompts = [Prompt("?", [1])] * 3
    loads = measure_load(runners, LoadTask(2, QUESTIONS, ()), prompts)
    assert [load.runner for load in loads] == ["both"] and asked == [(3, 2)]


def test_our_engine_answers_several_with_the_tokens_that_each_has_alone(
    engine_of: Callable[..., Engine],
) -> None:
    engine = engine_of("float32")
    runner = EngineRunner(engine, RunConfig(mode="ngram", max_new_tokens=12))
    prompts = [engine.raw_prompt(text) for text in ("ab ab ab", "abc", "ba")]
    alone = [runner.answer(prompt) for prompt in prompts]
    together = runner.answer_together(prompts, 2)
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    for one in together:
        times = [emission.t_s for emission in one.emissions]
        assert one.error is None and times == sorted(times) and 0 < times[-1] <= one.total_s


@pytest.mark.parametrize(
    ("levels", "goals", "words"),
    [
        (["0"], [], "concurrency has '0'; give numbers from 1"),
        (["x"], [], "concurrency has 'x'"),
        (["5"], [], "the largest concurrency is 5 and 4 questions are there"),
        ([], ["ttft=5"], "goodput is no setting without --concurrency"),
        (
            ["1"],
            ["ttft"],
            "goodput has 'ttft'; give NAME=MILLISECONDS with names of ttft, tpot, e2e",
        ),
        (["1"], ["e2e=-1"], "goodput has 'e2e=-1'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    levels: list[str], goals: list[str], words: str
) -> None:
    with pytest.raises(InvalidSettingError, match=words):
        load_tasks(levels, goals, QUESTIONS)


def test_levels_are_measured_in_order_and_once() -> None:
    tasks = load_tasks(["4", "1", "4"], ["tpot=50"], QUESTIONS)
    assert [task.concurrency for task in tasks] == [1, 4]
    assert tasks[0].goals_ms == (("tpot", 50.0),)
