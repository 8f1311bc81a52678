"""Files of other programs, and traces beside them, as pandas frames; what is not told is empty."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from core.errors import InvalidSettingError
from core.trace.pauses import percentile
from visualize.imports.columns import IMPORT_COLUMNS
from visualize.imports.records import (
    Record,
    Source,
    drafted_tau_of,
    rate_of,
    ratio,
    tau_of,
    tau_of_counts,
    total,
)

Row = dict[str, Any]
_COUNTS = ("num_prompt_tokens", "num_tokens")
_OF_SPECULATION = ("num_steps", "num_drafted_steps", "num_drafted", "num_accepted")


def import_frame(sources: Sequence[Source], table: str = "sources") -> pd.DataFrame:
    """The table `sources`, `answers`, `answer_steps` or `accepted_counts` of several sources."""
    if table not in _ROWS:
        raise InvalidSettingError(f"table is {table!r}; give one of {', '.join(_ROWS)}.")
    columns = IMPORT_COLUMNS[table]
    rows = [row for source in sources for row in _ROWS[table](source)]
    frame = pd.DataFrame(rows, columns=list(columns))
    return frame.astype({name: column.dtype for name, column in columns.items()})


def _source_rows(source: Source) -> Iterator[Row]:
    counted = [record for record in source.told if _is_counted(record)]
    whole, told = source.whole, source.told
    own = whole if whole is not None else Record()
    row: Row = {
        "source": source.name,
        "format": source.format,
        "model": source.model,
        "holds": source.holds,
        "num_answers": len(told) if whole is None else whole.num_requests,
        "num_failed": _first(
            None if whole is None else whole.num_failed,
            len(source.records) - len(told) if source.records else None,
        ),
        "num_counted": len(counted) if whole is None else None,
    }
    row |= {name: _told(own, told, name) for name in _COUNTS}
    row |= {name: _told(own, counted, name) for name in _OF_SPECULATION}
    summed = Record(**{name: row[name] for name in (*_COUNTS, *_OF_SPECULATION)})
    row |= {
        "acceptance_rate": _first(rate_of(own), rate_of(summed)),
        "acceptance_length": _first(
            tau_of(own, every_step=source.every_step), _tau_over(counted, source)
        ),
        "drafted_length": _first(drafted_tau_of(own), _drafted_tau_over(counted)),
        **_pace(source),
        **_latencies(source),
    }
    yield row


def _is_counted(record: Record) -> bool:
    return any(
        getattr(record, name) is not None for name in (*_OF_SPECULATION, "tau", "drafted_tau")
    )


def _told(own: Record, records: Sequence[Record], name: str) -> Any:
    return _first(getattr(own, name), total(records, name))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _tau_over(records: Sequence[Record], source: Source) -> float | None:
    """Over the steps of all answers; None where an answer does not tell its steps."""
    if source.every_step and (counts := source.histogram):
        return tau_of_counts(counts)
    return ratio(total(records, "num_tokens"), total(records, "num_steps"))


def _drafted_tau_over(records: Sequence[Record]) -> float | None:
    if len(records) == 1:
        return drafted_tau_of(records[0])
    gained = ratio(total(records, "num_accepted"), total(records, "num_drafted_steps"))
    return None if gained is None else 1 + gained


def _pace(source: Source) -> Row:
    told, whole = source.told, source.whole
    duration = whole.duration_s if whole is not None else None
    starts, ends = ([getattr(record, name) for record in told] for name in ("start_s", "end_s"))
    if duration is None and told and None not in starts and None not in ends:
        duration = max(ends) - min(starts)
    of_all = _first(whole.num_tokens if whole else None, total(told, "num_tokens"))
    return {
        "tokens_per_s": _pace_over(told, "decode_s"),
        "request_tokens_per_s": _pace_over(told, "total_s"),
        "throughput": ratio(of_all, duration),
    }


def _pace_over(records: Sequence[Record], time: str) -> float | None:
    """Of the answers that tell their tokens and this time."""
    timed = [record for record in records if None not in (record.num_tokens, getattr(record, time))]
    return ratio(total(timed, "num_tokens"), total(timed, time))


def _latencies(source: Source) -> Row:
    whole = source.whole
    firsts = [record.time_to_first_token_s for record in source.told]
    first = sorted(each for each in firsts if each is not None)
    gaps = sorted(gap for record in source.told for gap in record.gaps_s or ())
    found = {
        "first_token_p50_ms": _first(whole.first_p50_s if whole else None, percentile(first, 0.5)),
        "first_token_p99_ms": _first(whole.first_p99_s if whole else None, percentile(first, 0.99)),
        "gap_p50_ms": _first(whole.gap_p50_s if whole else None, percentile(gaps, 0.5)),
        "gap_p99_ms": _first(whole.gap_p99_s if whole else None, percentile(gaps, 0.99)),
    }
    return {name: None if value is None else value * 1e3 for name, value in found.items()}


def _answer_rows(source: Source) -> Iterator[Row]:
    for record in source.records:
        is_told = not record.error
        first = record.time_to_first_token_s
        yield {
            "source": source.name,
            "answer": record.name,
            "category": record.category,
            **{
                name: getattr(record, name) if is_told else None
                for name in (*_COUNTS, *_OF_SPECULATION)
            },
            "acceptance_rate": rate_of(record),
            "acceptance_length": tau_of(record, every_step=source.every_step),
            "drafted_length": drafted_tau_of(record),
            "tokens_per_s": ratio(record.num_tokens, record.decode_s),
            "request_tokens_per_s": ratio(record.num_tokens, record.total_s),
            "first_token_ms": None if first is None else first * 1e3,
            "total_s": record.total_s,
            "error": record.error,
        }


def _step_rows(source: Source) -> Iterator[Row]:
    for record in source.told:
        drafted = record.drafted_by_step
        for place, kept in enumerate(record.accepted_by_step or ()):
            yield {
                "source": source.name,
                "answer": record.name,
                "step": place + 1,
                "num_drafted": None if drafted is None else drafted[place],
                "num_accepted": kept,
            }


def _count_rows(source: Source) -> Iterator[Row]:
    counts = source.histogram or ()
    num_steps = sum(counts)
    for number, count in enumerate(counts):
        yield {
            "source": source.name,
            "num_accepted": number,
            "num_steps": count,
            "share": count / num_steps,
            "share_at_least": sum(counts[number:]) / num_steps,
        }


_ROWS: dict[str, Callable[[Source], Iterator[Row]]] = {
    "sources": _source_rows,
    "answers": _answer_rows,
    "answer_steps": _step_rows,
    "accepted_counts": _count_rows,
}
