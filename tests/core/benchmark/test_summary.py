"""Figures from measurements with numbers that can be checked by head."""

import csv
import dataclasses
import io
import random
from statistics import median

import pytest

from core.benchmark.exactness import Divergence
from core.benchmark.measurement import (
    Answer,
    Emission,
    Measurement,
    Resources,
    measure,
    measurement_from_dict,
    pace_of,
)
from core.benchmark.questions import Question
from core.benchmark.report import answers_csv
from core.benchmark.summary import ALL, Row, bootstrap_median, summarize
from core.benchmark.tables import markdown, tables_of
from core.trace.stats import RunStats
from tests.core.benchmark.scripted_runner import answer_of


def made(
    runner: str,
    question_id: int,
    tokens: int,
    seconds: float,
    category: str = "chat",
    **more: object,
) -> Measurement:
    base = Measurement(
        runner=runner,
        question_id=question_id,
        category=category,
        turn=1,
        repeat=1,
        num_tokens=tokens + 1,
        first_s=0.25,
        num_paced_tokens=tokens,
        paced_s=seconds,
        pauses_s=[seconds],
        total_s=seconds + 1.0,
        stats=None,
        is_compared=True,
        divergence=None,
        error=None,
        resources=Resources(),
    )
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]


def row(rows: list[Row], runner: str, category: str = ALL) -> Row:
    return next(item for item in rows if (item.runner, item.category) == (runner, category))


MEASURED = [
    made("naive", 1, 10, 1.0),
    made("fast", 1, 10, 0.5),
    made("naive", 2, 10, 1.0),
    made("fast", 2, 40, 1.0),
    made("naive", 3, 10, 1.0, "edit"),
    made("fast", 3, 10, 0.1, "edit"),
]


def test_the_ratio_is_the_median_over_questions() -> None:
    ratio = row(summarize(MEASURED), "fast").ratio
    assert ratio is not None
    assert ratio.median == pytest.approx(4.0)
    assert ratio.low <= ratio.median <= ratio.high


def test_the_ratio_with_prompt_is_that_of_all_tokens_over_all_time() -> None:
    total = row(summarize(MEASURED), "fast").total_ratio
    own, plain = (11 + 41 + 11) / (1.5 + 2.0 + 1.1), 33 / 6.0
    assert total == pytest.approx(own / plain)


def test_categories_have_rows_of_their_own() -> None:
    rows = summarize(MEASURED)
    edit = row(rows, "fast", "edit")
    assert (edit.num_answers, edit.num_tokens) == (1, 11)
    assert edit.ratio is not None and edit.ratio.median == pytest.approx(10.0)
    assert len(rows) == 2 * 3


def test_plain_decoding_against_itself_is_one() -> None:
    plain = row(summarize(MEASURED), "naive")
    assert plain.ratio == (1.0, 1.0, 1.0)
    assert plain.total_ratio == 1.0


def test_repeats_and_turns_of_a_question_count_as_one_question() -> None:
    again = [dataclasses.replace(item, repeat=2) for item in MEASURED if item.question_id == 1]
    ratio = row(summarize([*MEASURED, *again]), "fast").ratio
    assert ratio is not None and ratio.median == pytest.approx(4.0)


def test_a_failure_is_counted_and_changes_no_mean() -> None:
    failed = made("fast", 4, 1000, 0.001, error="broken", is_compared=False)
    with_failure = row(summarize([*MEASURED, made("naive", 4, 10, 1.0), failed]), "fast")
    without = row(summarize(MEASURED), "fast")
    assert with_failure == without._replace(num_failed=1)


def test_where_plain_decoding_failed_there_is_no_ratio_but_a_speed() -> None:
    items = [made("naive", 1, 0, 0.0, error="broken"), made("fast", 1, 10, 0.5)]
    fast = row(summarize(items), "fast")
    assert fast.ratio is None and fast.total_ratio is None
    assert fast.tokens_per_s == pytest.approx(20.0)


def test_differences_are_counted_with_the_earliest_place_and_the_largest_gap() -> None:
    items = [
        made("fast", 1, 10, 1.0, divergence=Divergence(7, 1, 2, 0.01, False)),
        made("fast", 2, 10, 1.0, divergence=Divergence(3, 1, None, None, False)),
        made("fast", 3, 10, 1.0),
        made("fast", 4, 10, 1.0, is_compared=False),
    ]
    fast = row(summarize(items), "fast")
    assert (fast.num_identical, fast.num_compared) == (1, 3)
    assert (fast.first_position, fast.largest_gap) == (3, 0.01)


def test_steps_and_phases_are_added_up_before_they_are_divided() -> None:
    one = RunStats(num_tokens=4, num_steps=1, num_tested=5, num_accepted=3, draft_s=0.001)
    two = RunStats(
        num_tokens=8, num_steps=3, num_tested=7, num_accepted=5, verify_s=0.03, steps_s=0.035
    )
    items = [made("fast", 1, 3, 1.0, stats=one), made("fast", 2, 7, 1.0, stats=two)]
    fast = row(summarize(items), "fast")
    assert fast.acceptance_length == 3.0
    assert (fast.num_accepted, fast.num_tested) == (8, 12)
    assert fast.phases is not None
    assert fast.phases.draft_ms == pytest.approx(0.25)
    assert fast.phases.verify_ms == pytest.approx(7.5)
    assert fast.phases.other_ms == pytest.approx(1.0)
    assert fast.phases.num_steps == 4


def test_pauses_are_those_of_all_whole_answers_and_the_time_between_answers_is_none() -> None:
    items = [
        made("fast", 1, 3, 1.0, pauses_s=[0.3, 0.1]),
        made("fast", 2, 3, 1.0, pauses_s=[0.2]),
        made("fast", 3, 3, 1.0, pauses_s=[9.0], error="broken"),
        made("silent", 1, 3, 1.0, pauses_s=None),
        made("at once", 1, 3, 1.0, pauses_s=[]),
    ]
    rows = summarize(items)
    assert row(rows, "fast").pauses == pytest.approx((0.2, 0.29, 0.298, 0.3, 3))
    assert row(rows, "silent").pauses is None and row(rows, "at once").pauses is None
    (table,) = (one for one in tables_of(rows, "nothing") if one.title.startswith("Pauses"))
    assert table.rows == [("fast", "200.0", "290.0", "298.0", "300.0", "3")]
    answers = list(csv.DictReader(io.StringIO(answers_csv(items))))
    assert float(answers[0]["pause_p50_s"]) == pytest.approx(0.2)
    assert answers[0]["num_pauses"] == "2" and answers[3]["pause_p50_s"] == ""


def test_an_answer_of_sums_alone_tells_no_pauses() -> None:
    emissions = [Emission(1.0, 1), Emission(1.5, 4), Emission(1.75, 2)]
    assert Answer(emissions=emissions).pauses_s == [0.5, 0.25]
    assert Answer(emissions=emissions, is_streamed=False).pauses_s is None


def test_the_pace_leaves_the_first_emission_and_the_wait_for_it_out() -> None:
    emissions = [Emission(3.0, 5), Emission(4.0, 1), Emission(7.0, 2)]
    assert pace_of(emissions) == (3, 4.0)


@pytest.mark.parametrize("emissions", [[], [Emission(3.0, 5)]])
def test_an_answer_that_comes_at_once_has_no_pace(emissions: list[Emission]) -> None:
    assert pace_of(emissions) == (0, 0.0)
    assert row(summarize([made("fast", 1, 0, 0.0)]), "fast").tokens_per_s is None


def test_a_bootstrap_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    generator = random.Random(5)
    num_right = 0
    for _ in range(40):
        interval = bootstrap_median([generator.gauss(1.5, 0.3) for _ in range(40)])
        num_right += interval.low <= 1.5 <= interval.high
    assert 33 <= num_right <= 40


def test_a_bootstrap_median_is_the_median_and_of_one_value_that_value() -> None:
    values = [3.0, 1.0, 2.0, 9.0]
    assert bootstrap_median(values).median == median(values)
    assert bootstrap_median([2.0]) == (2.0, 2.0, 2.0)


def test_a_measurement_survives_its_json_form() -> None:
    question = Question(7, "chat", ("?",))
    item = measure(answer_of([1, 2, 3]), "fast", question, 1, 1, answer_of([1, 2, 4]))
    assert item.divergence is not None and item.stats is not None
    assert measurement_from_dict(item.to_dict()) == item
    failed = measure(Answer(error="broken"), "fast", question, 2)
    assert measurement_from_dict(failed.to_dict()) == failed


def test_the_first_token_is_the_median_of_what_was_told() -> None:
    times = [0.5, 0.1, 0.2, None]
    rows = summarize([made("fast", n, 10, 1.0, first_s=time) for n, time in enumerate(times)])
    assert row(rows, "fast").first_s == 0.2
    assert "| 200 |" in markdown(tables_of(rows, "none"))
    assert row(summarize([made("fast", 1, 10, 1.0, first_s=None)]), "fast").first_s is None


def test_the_first_emission_is_apart_from_the_pace() -> None:
    answer = answer_of([1, 2, 3])
    item = measure(answer, "fast", Question(7, "chat", ("?",)), 1)
    assert item.first_s == answer.emissions[0].t_s > 0


def test_markdown_has_a_table_for_speed_and_one_for_categories() -> None:
    text = markdown(tables_of(summarize(MEASURED), "none"))
    assert "**All questions**" in text and "**Ratio to naive by category**" in text
    assert "Milliseconds" not in text, "nobody told of steps"
    assert "| fast | 4.00 | 10.00 |" not in text
    assert "| fast | 3.00 | 10.00 |" in text


def test_without_plain_decoding_the_categories_tell_speeds() -> None:
    text = markdown(
        tables_of(summarize([item for item in MEASURED if item.runner == "fast"]), "none")
    )
    assert "**Tokens/s by category**" in text
    assert "| fast | 33.3 | 100.0 |" in text
