"""What a file of another program, or a trace, tells of answers and their speculation.

What is not told is None, and never 0. Two means of tokens a step are kept apart: over all steps, as
traces, SGLang and Spec-Bench have it, and over the steps that had a draft, as vLLM and llama.cpp do.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Holds = Literal["steps", "histogram", "totals", "no speculation"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One answer, or a whole benchmark; times in seconds."""

    name: str = ""
    category: str = ""
    error: str = ""
    """Why there is no answer; nothing else is known then."""
    num_prompt_tokens: int | None = None
    num_tokens: int | None = None
    num_steps: int | None = None
    """Forward passes of the target that gave tokens, with a draft or without."""
    num_drafted_steps: int | None = None
    """Those that had a draft."""
    num_drafted: int | None = None
    num_accepted: int | None = None
    tau: float | None = None
    """Tokens a step over all steps, where it is told."""
    drafted_tau: float | None = None
    """Tokens a step over the steps with a draft, where it is told."""
    acceptance_rate: float | None = None
    """Accepted over drafted, from 0 to 1, where it is told."""
    accepted_counts: tuple[int, ...] | None = None
    """Steps by the number of draft tokens they accepted, from 0."""
    accepted_by_step: tuple[int, ...] | None = None
    drafted_by_step: tuple[int, ...] | None = None
    time_to_first_token_s: float | None = None
    tokens_per_s: float | None = None
    """Tokens over the time of generating, without the prompt, where it is told."""
    request_tokens_per_s: float | None = None
    """Tokens over the time of the whole answer, where it is told."""
    decode_s: float | None = None
    """Time of generating, without the prompt."""
    total_s: float | None = None
    """Time of the whole answer."""
    gaps_s: tuple[float, ...] | None = None
    """Between the parts in which an answer came: steps, or several that were joined."""
    start_s: float | None = None
    end_s: float | None = None
    """On a clock that all answers of a file share."""

    @property
    def histogram(self) -> tuple[int, ...] | None:
        """Steps by accepted draft tokens, from 0, without zeros at its end."""
        counts = self.accepted_counts
        if counts is None and self.accepted_by_step is not None:
            found = Counter(self.accepted_by_step)
            counts = tuple(found[number] for number in range(max(found, default=-1) + 1))
        if counts is None:
            return None
        length = max((place for place, count in enumerate(counts, start=1) if count), default=0)
        return counts[:length]


@dataclass(frozen=True, kw_only=True)
class Whole(Record):
    """What a benchmark itself tells of all its answers together."""

    num_requests: int | None = None
    num_failed: int | None = None
    duration_s: float | None = None
    first_p50_s: float | None = None
    first_p99_s: float | None = None
    gap_p50_s: float | None = None
    gap_p99_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of another program or a part of it, or a trace, as tables and figures read it."""

    name: str
    format: str
    model: str = ""
    about: str = ""
    """What is to be known of its figures."""
    every_step: bool = False
    """Whether its lists of steps and its histogram are of all steps, not of those with a draft."""
    records: Sequence[Record] = ()
    whole: Whole | None = None
    notes: Sequence[str] = field(default=())

    @property
    def told(self) -> list[Record]:
        """The answers that did not fail."""
        return [record for record in self.records if not record.error]

    @property
    def histogram(self) -> tuple[int, ...] | None:
        """Of all answers that tell one, else of the whole; see `Record.histogram`."""
        found = [each for record in self.told if (each := record.histogram) is not None]
        if not found:
            return None if self.whole is None else self.whole.histogram
        length = max(map(len, found))
        return tuple(
            sum(each[place] for each in found if place < len(each)) for place in range(length)
        )

    @property
    def holds(self) -> Holds:
        """The finest that it tells of speculation."""
        if any(record.accepted_by_step is not None for record in self.told):
            return "steps"
        if self.histogram is not None:
            return "histogram"
        every = [*self.told, *([self.whole] if self.whole else [])]
        values = ("num_drafted", "num_accepted", "num_steps", "tau", "drafted_tau")
        is_told = any(getattr(record, name) is not None for record in every for name in values)
        return "totals" if is_told else "no speculation"


def tau_of(record: Record, *, every_step: bool) -> float | None:
    """Tokens a step over all steps; None where that is not known."""
    if record.tau is not None:
        return record.tau
    if every_step and (counts := record.histogram):
        return tau_of_counts(counts)
    return ratio(record.num_tokens, record.num_steps)


def tau_of_counts(counts: Sequence[int]) -> float:
    """Tokens a step, of the steps by how many draft tokens they accepted."""
    return 1 + _accepted(counts) / sum(counts)


def drafted_tau_of(record: Record) -> float | None:
    """Tokens a step over the steps that had a draft; None where that is not known."""
    gained = ratio(record.num_accepted, record.num_drafted_steps)
    return record.drafted_tau if gained is None else 1 + gained


def rate_of(record: Record) -> float | None:
    """Accepted draft tokens over drafted ones; None where that is not known."""
    found = ratio(record.num_accepted, record.num_drafted)
    return record.acceptance_rate if found is None else found


def ratio(part: float | None, whole: float | None) -> float | None:
    """None where either is unknown, or nothing can be divided."""
    return None if part is None or not whole else part / whole


def total(records: Iterable[Record], name: str) -> int | float | None:
    """The sum of a number over the records, or None where one of them does not tell it."""
    values = [getattr(record, name) for record in records]
    return None if not values or None in values else sum(values)


def completed(record: Record, *, every_step: bool) -> dict[str, Any]:
    """The numbers that follow from those that are told."""
    follows: dict[str, Any] = {
        "decode_s": ratio(record.num_tokens, record.tokens_per_s),
        "total_s": ratio(record.num_tokens, record.request_tokens_per_s),
    }
    counts, drafted = record.histogram, record.drafted_by_step
    if counts is not None:
        follows["num_steps" if every_step else "num_drafted_steps"] = sum(counts)
        follows["num_accepted"] = _accepted(counts)
    if drafted is not None:
        follows["num_drafted"] = sum(drafted)
    steps = _only_steps(record.num_accepted, record.drafted_tau)
    if steps is not None:
        follows.setdefault("num_drafted_steps", steps)
    return {name: value for name, value in follows.items() if getattr(record, name) is None}


def _only_steps(num_accepted: int | None, drafted_tau: float | None) -> int | None:
    """The steps that a mean of two decimals leaves open; None unless they are one number alone."""
    if not num_accepted or drafted_tau is None or drafted_tau <= 1.005:
        return None
    least = num_accepted / (drafted_tau + 0.005 - 1)
    most = num_accepted / (drafted_tau - 0.005 - 1)
    return int(most) if -int(-least // 1) == int(most) else None


def _accepted(counts: Sequence[int]) -> int:
    return sum(number * count for number, count in enumerate(counts))


def contradiction(record: Record, *, every_step: bool) -> str | None:
    """What in a record cannot be true together: what was got, and what is allowed."""
    counts = record.histogram
    by_step, drafted = record.accepted_by_step, record.drafted_by_step
    steps = record.num_steps if every_step else record.num_drafted_steps
    if by_step is not None and drafted is not None:
        if len(by_step) != len(drafted):
            return (
                f"{len(by_step)} steps tell what they accepted and {len(drafted)} what they drafted; "
                "both lists are to be of one length"
            )
        for place, (kept, most) in enumerate(zip(by_step, drafted, strict=True), start=1):
            if kept > most:
                return f"step {place} accepted {kept} of {most} drafted tokens; at most all can be"
    told: list[tuple[str, int | None, int | None]] = [
        ("accepted tokens", record.num_accepted, None if counts is None else _accepted(counts)),
        ("drafted tokens", record.num_drafted, None if drafted is None else sum(drafted)),
        (
            "steps with a draft",
            None if every_step else steps,
            None if counts is None else sum(counts),
        ),
    ]
    for words, total_, sum_ in told:
        if total_ is not None and sum_ is not None and total_ != sum_:
            return f"{words} are {total_} and add up to {sum_} step by step; both are to be equal"
    if record.accepted_counts is not None and by_step is not None:
        found = Record(accepted_by_step=by_step).histogram
        if found != counts:
            return "the histogram is not that of the steps; both are to agree"
    if None not in (record.num_accepted, record.num_drafted):
        assert record.num_accepted is not None and record.num_drafted is not None
        if record.num_accepted > record.num_drafted:
            return (
                f"{record.num_accepted} of {record.num_drafted} drafted tokens are accepted; at most "
                "all can be"
            )
    return _wrong_mean(record)


def _wrong_mean(record: Record) -> str | None:
    pairs: list[tuple[str, float | None, Callable[[], float | None]]] = [
        (
            "tokens a step with a draft",
            record.drafted_tau,
            lambda: _plus_one(ratio(record.num_accepted, record.num_drafted_steps)),
        ),
        (
            "acceptance rate",
            record.acceptance_rate,
            lambda: ratio(record.num_accepted, record.num_drafted),
        ),
    ]
    for words, told, counted in pairs:
        found = counted()
        # Means are often written with two or three digits.
        if told is not None and found is not None and abs(told - found) > 0.006:
            return f"{words} is {told:g}, and its counts give {found:.4g}; both are to agree"
    return None


def _plus_one(value: float | None) -> float | None:
    return None if value is None else 1 + value
