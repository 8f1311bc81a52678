"""What users wait for while several are answered at once, and how many answers come in time.

So many requests as the concurrency says are under way at every moment: the next one is asked when one
has been answered.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from core.benchmark.measurement import Answer
from core.benchmark.questions import Question
from core.benchmark.tables import Table
from core.errors import InvalidSettingError, shown
from core.trace.pauses import percentile

if TYPE_CHECKING:
    from core.benchmark.runners import Runner
    from core.decoding.run_start import Prompt

MOST_AT_ONCE = 256
# Names of `--goodput`, and what each bounds.
GOALS = {
    "ttft": "time to first token",
    "tpot": "mean time of a token behind the first ones",
    "e2e": "time of the whole answer",
}
_SHARES = (0.5, 0.95, 0.99)


class LoadTask(NamedTuple):
    """All first turns of the questions, so many at once, by all runners that can."""

    concurrency: int
    questions: tuple[Question, ...]
    goals_ms: tuple[tuple[str, float], ...]
    """Of GOALS, each with the most milliseconds that are in time; none counts no goodput."""


class Percentiles(NamedTuple):
    """Milliseconds that so many per cent of all values do not exceed; None where there are none."""

    p50: float | None
    p95: float | None
    p99: float | None


class Load(NamedTuple):
    """A runner under a concurrency."""

    runner: str
    concurrency: int
    num_answers: int
    num_failed: int
    num_tokens: int
    seconds: float
    """From the first request to the last answer."""
    first_ms: Percentiles
    """From the request to the first tokens."""
    gap_ms: Percentiles
    """Between two emissions of an answer: a step's tokens come at once."""
    per_token_ms: Percentiles
    """Of an answer: from its first emission to its last, over the tokens behind the first."""
    num_good: int | None
    """Answers that keep all goals; None where there are none."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        parts = {
            name: getattr(self, name)._asdict() for name in ("first_ms", "gap_ms", "per_token_ms")
        }
        return {**self._asdict(), **parts}


def load_tasks(
    levels: Sequence[str], goals: Sequence[str], questions: Sequence[Question]
) -> list[LoadTask]:
    """A task for each level of `--concurrency`; raises InvalidSettingError."""
    goals_ms = tuple(_goal(text) for text in goals)
    if goals and not levels:
        raise InvalidSettingError(
            "goodput is no setting without --concurrency; give that too, or leave it out."
        )
    for word in levels:
        if not word.isdecimal() or not 1 <= int(word) <= MOST_AT_ONCE:
            raise InvalidSettingError(
                f"concurrency has {shown(word)}; give numbers from 1 to {MOST_AT_ONCE}, with commas."
            )
    numbers = sorted({int(word) for word in levels})
    if numbers and len(questions) < numbers[-1]:
        raise InvalidSettingError(
            f"the largest concurrency is {numbers[-1]} and {len(questions)} questions are there; give "
            "--limit as many, or a smaller concurrency."
        )
    return [LoadTask(number, tuple(questions), goals_ms) for number in numbers]


def _goal(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        most_ms = float(number)
    except ValueError:
        most_ms = 0.0
    if name not in GOALS or not 0 < most_ms < 1e9:
        raise InvalidSettingError(
            f"goodput has {shown(text)}; give NAME=MILLISECONDS with names of {', '.join(GOALS)}, and "
            "commas."
        )
    return name, most_ms


def measure_load(
    runners: Iterable["Runner"], task: LoadTask, prompts: Sequence["Prompt"]
) -> list[Load]:
    """Each runner in turn; those that answer one after the other alone are left out."""
    found = []
    for runner in runners:
        together = runner.answer_together
        if together is None:
            continue
        start_s = time.perf_counter()
        answers = together(prompts, task.concurrency)
        seconds = time.perf_counter() - start_s
        found.append(load_of(runner.label, task, answers, seconds))
    return found


def load_of(runner: str, task: LoadTask, answers: Sequence[Answer], seconds: float) -> Load:
    """The figures of answers that came in so many seconds; failed ones enter none but their number."""
    whole = [answer for answer in answers if answer.error is None and answer.emissions]
    per_token = {id(answer): _per_token_ms(answer) for answer in whole}
    goals = dict(task.goals_ms)
    good = [answer for answer in whole if _is_good(answer, per_token[id(answer)], goals)]
    return Load(
        runner=runner,
        concurrency=task.concurrency,
        num_answers=len(whole),
        num_failed=len(answers) - len(whole),
        num_tokens=sum(one.num_tokens for answer in whole for one in answer.emissions),
        seconds=seconds,
        first_ms=percentiles(answer.emissions[0].t_s * 1e3 for answer in whole),
        gap_ms=percentiles(gap * 1e3 for answer in whole for gap in answer.pauses_s or ()),
        per_token_ms=percentiles(value for value in per_token.values() if value is not None),
        num_good=len(good) if goals else None,
    )


def _per_token_ms(answer: Answer) -> float | None:
    first, *later = answer.emissions
    num_later = sum(one.num_tokens for one in later)
    return (later[-1].t_s - first.t_s) * 1e3 / num_later if num_later else None


def _is_good(answer: Answer, per_token_ms: float | None, goals: Mapping[str, float]) -> bool:
    reached = {
        "ttft": answer.emissions[0].t_s * 1e3,
        "tpot": per_token_ms or 0.0,
        "e2e": answer.total_s * 1e3,
    }
    return all(reached[name] <= most_ms for name, most_ms in goals.items())


def percentiles(values: Iterable[float]) -> Percentiles:
    """With straight lines between neighbouring values."""
    ordered = sorted(values)
    return Percentiles(*(percentile(ordered, share) for share in _SHARES))


def load_table(loads: Sequence[Load]) -> list[Table]:
    """A row a concurrency and runner; empty without any."""
    if not loads:
        return []
    has_goals = any(load.num_good is not None for load in loads)
    columns = (
        "", "at once", "tokens/s", "answers/s", *(("good answers/s",) if has_goals else ()),
        "first token ms", "between ms", "a token ms", "failed",
    )  # fmt: skip
    rows = [
        (
            load.runner,
            str(load.concurrency),
            f"{load.num_tokens / load.seconds:.1f}",
            f"{load.num_answers / load.seconds:.2f}",
            *((f"{(load.num_good or 0) / load.seconds:.2f}",) if has_goals else ()),
            _cell(load.first_ms),
            _cell(load.gap_ms),
            _cell(load.per_token_ms),
            str(load.num_failed),
        )
        for load in loads
    ]
    note = (
        "Times are p50 / p95 / p99 over all answers. Programs that answer one request after the other "
        "alone are left out."
    )
    return [Table("Several requests at once", columns, rows, note)]


def _cell(values: Percentiles) -> str:
    return " / ".join("-" if value is None else f"{value:.1f}" for value in values)
