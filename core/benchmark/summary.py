"""Figures of many measurements. Every figure is defined here, once, and made last from raw counts.

Failed answers are counted and enter no mean. A ratio sets a runner against plain decoding over the
same answers: those that neither of the two failed.
"""

import random
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

from core.benchmark.comparison import PLAIN
from core.benchmark.measurement import Measurement
from core.trace.pauses import percentile
from core.trace.stats import RunStats

ALL = "all"
_NUM_RESAMPLES = 1000
_COVERAGE = 0.95


class Interval(NamedTuple):
    """A median with the bounds of its bootstrap interval (Efron 1979; 95%, percentiles)."""

    median: float
    low: float
    high: float


class PhaseTimes(NamedTuple):
    """Mean milliseconds a step, and steps."""

    draft_ms: float
    verify_ms: float
    accept_ms: float
    commit_ms: float
    other_ms: float
    """Recording and bookkeeping."""
    num_steps: int


class PauseTimes(NamedTuple):
    """Seconds from one emission of an answer to its next, of all answers together."""

    p50_s: float
    p95_s: float
    p99_s: float
    """What so many per cent of them do not exceed (`core.trace.pauses.percentile`)."""
    longest_s: float
    num_pauses: int


class Row(NamedTuple):
    """One runner over one category, or over all."""

    runner: str
    category: str
    num_answers: int
    """Whole ones."""
    num_failed: int
    num_tokens: int
    tokens_per_s: float | None
    """Tokens after each answer's first emission, over the time they took."""
    ratio: Interval | None
    """Over plain decoding: each question's tokens/s over plain's, and the median of these."""
    total_ratio: float | None
    """Over plain decoding: tokens over whole time, prompts included, of all answers together."""
    first_s: float | None
    """From the request to the first emission: the median of all answers."""
    pauses: PauseTimes | None
    """None where the program does not tell them, or everything came at once."""
    acceptance_length: float | None
    """Tau: tokens emitted a step."""
    tau_is_bound: bool
    """Whether tau is at most that: steps of a server came together."""
    num_accepted: int | None
    num_tested: int | None
    """Accepted over tested is the acceptance rate; None where a server does not tell it."""
    num_drafted: int | None
    """None where it is not told."""
    phases: PhaseTimes | None
    num_compared: int
    num_identical: int
    """Answers equal to plain decoding's, id for id, of `num_compared`."""
    first_position: int | None
    """The earliest place at which an answer differs."""
    largest_gap: float | None
    """The largest logit gap at a first difference."""
    peak_resident_bytes: int | None
    peak_gpu_bytes: int | None
    """The most of all answers."""
    joules_per_token: float | None
    """Of the whole machine, prompts included."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **self._asdict(),
            "ratio": self.ratio._asdict() if self.ratio else None,
            "pauses": self.pauses._asdict() if self.pauses else None,
            "phases": self.phases._asdict() if self.phases else None,
        }


def summarize(measurements: Sequence[Measurement]) -> list[Row]:
    """A row for each runner over all categories, then for each runner and category."""
    runners = list(dict.fromkeys(item.runner for item in measurements))
    categories = list(dict.fromkeys(item.category for item in measurements))
    return [
        _row(runner, category, measurements)
        for category in (ALL, *categories)
        for runner in runners
    ]


def _row(runner: str, category: str, measurements: Sequence[Measurement]) -> Row:
    inside = [item for item in measurements if category in (ALL, item.category)]
    every = [item for item in inside if item.runner == runner]
    whole = [item for item in every if item.error is None]
    pairs = _pairs(whole, [item for item in inside if item.runner == PLAIN])
    stats = _added_up(item.stats for item in whole if item.stats)
    is_told = any(item.stats for item in whole)
    divergences = [item.divergence for item in whole if item.divergence]
    gaps = [item.logit_gap for item in divergences if item.logit_gap is not None]
    return Row(
        runner=runner,
        category=category,
        num_answers=len(whole),
        num_failed=len(every) - len(whole),
        num_tokens=sum(item.num_tokens for item in whole),
        tokens_per_s=_speed(whole),
        ratio=_ratio(pairs),
        total_ratio=_total_ratio(pairs),
        first_s=_median(item.first_s for item in whole),
        pauses=pause_times([pause for item in whole for pause in item.pauses_s or ()]),
        acceptance_length=stats.acceptance_length,
        tau_is_bound=stats.origins.get("num_steps") == "at least",
        num_accepted=stats.known("num_accepted") if is_told else None,
        num_tested=stats.known("num_tested") if is_told else None,
        num_drafted=stats.known("num_drafted") if is_told else None,
        phases=_phases(stats),
        num_compared=sum(item.is_compared for item in whole),
        num_identical=sum(item.is_compared and not item.divergence for item in whole),
        first_position=min((item.position for item in divergences), default=None),
        largest_gap=max(gaps, default=None),
        peak_resident_bytes=_largest(item.resources.peak_resident_bytes for item in whole),
        peak_gpu_bytes=_largest(item.resources.peak_gpu_bytes for item in whole),
        joules_per_token=_joules_per_token(whole),
    )


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _median(values: Iterable[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return median(told) if told else None


def pause_times(pauses_s: Iterable[float]) -> PauseTimes | None:
    """The figures of pauses in any order; None of none."""
    ordered = sorted(pauses_s)
    if not ordered:
        return None
    p50_s, p95_s, p99_s = (percentile(ordered, share) or 0.0 for share in (0.5, 0.95, 0.99))
    return PauseTimes(p50_s, p95_s, p99_s, ordered[-1], len(ordered))


def _joules_per_token(items: Iterable[Measurement]) -> float | None:
    told = [
        (item.resources.energy_j, item.num_tokens)
        for item in items
        if item.resources.energy_j is not None
    ]
    num_tokens = sum(tokens for _, tokens in told)
    return sum(joules for joules, _ in told) / num_tokens if num_tokens else None


class _Pair(NamedTuple):
    """A runner's whole answer and plain decoding's to the same prompt."""

    own: Measurement
    plain: Measurement


def _pairs(own: Iterable[Measurement], plain: Iterable[Measurement]) -> list[_Pair]:
    references = {_key(item): item for item in plain if item.error is None}
    return [_Pair(item, references[_key(item)]) for item in own if _key(item) in references]


def _key(item: Measurement) -> tuple[int, int, int]:
    return item.question_id, item.turn, item.repeat


def _speed(items: Iterable[Measurement]) -> float | None:
    items = list(items)
    seconds = sum(item.paced_s for item in items)
    return sum(item.num_paced_tokens for item in items) / seconds if seconds else None


def _ratio(pairs: Sequence[_Pair]) -> Interval | None:
    questions: dict[int, list[_Pair]] = {}
    for pair in pairs:
        questions.setdefault(pair.own.question_id, []).append(pair)
    ratios = []
    for group in questions.values():
        own, plain = _speed(pair.own for pair in group), _speed(pair.plain for pair in group)
        if own and plain:
            ratios.append(own / plain)
    return bootstrap_median(ratios) if ratios else None


def _total_ratio(pairs: Sequence[_Pair]) -> float | None:
    own_s, plain_s = (sum(item.total_s for item in side) for side in _sides(pairs))
    own_tokens, plain_tokens = (sum(item.num_tokens for item in side) for side in _sides(pairs))
    if not own_s or not plain_tokens:
        return None
    return (own_tokens / own_s) / (plain_tokens / plain_s)


def _sides(pairs: Sequence[_Pair]) -> tuple[list[Measurement], list[Measurement]]:
    return [pair.own for pair in pairs], [pair.plain for pair in pairs]


def bootstrap_median(values: Sequence[float]) -> Interval:
    """The median of at least one value and its interval over resamples with a fixed seed."""
    generator = random.Random(0)
    medians = sorted(
        median(generator.choices(values, k=len(values))) for _ in range(_NUM_RESAMPLES)
    )
    margin = int(_NUM_RESAMPLES * (1 - _COVERAGE) / 2)
    return Interval(median(values), medians[margin], medians[-1 - margin])


def _added_up(every: Iterable[RunStats]) -> RunStats:
    total = RunStats()
    for stats in every:
        total.merge(stats)
    return total


def _phases(stats: RunStats) -> PhaseTimes | None:
    if not stats.num_steps or stats.known("draft_s") is None:
        return None
    per_step = 1000 / stats.num_steps
    return PhaseTimes(
        draft_ms=stats.draft_s * per_step,
        verify_ms=stats.verify_s * per_step,
        accept_ms=stats.accept_s * per_step,
        commit_ms=stats.commit_s * per_step,
        other_ms=stats.other_s * per_step,
        num_steps=stats.num_steps,
    )
