"""Reads files of other programs by their descriptions, and says which line of one is broken."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from core.errors import InvalidSettingError, shown
from core.runtime.text_files import decode_text, numbered_lines, read_text
from core.trace.file import FORMAT as TRACE_FORMAT
from visualize.imports.formats import FORMATS, Field, Format, Log
from visualize.imports.kinds import MOST_COUNTED, RATES, TEXT
from visualize.imports.records import Record, Source, Whole, completed, contradiction

MOST_RECORDS: Final = 100_000
_WANTED = "give a trace, or a file of " + ", ".join(format_.name for format_ in FORMATS)
# Where an entry is looked at to tell what a file is: a request may lack what others have.
_LOOKED_AT = 100
_MISSING: Final = object()
RecordT = TypeVar("RecordT", bound=Record)


class _Entry(NamedTuple):
    """A JSON value of a file, or what a log tells of an answer."""

    line: int
    values: Any


class _BrokenError(ValueError):
    """What is wrong with an entry, without its place."""


def load_import(path: Path) -> list[Source]:
    """What a file tells: one source, or one for each benchmark in it.

    Raises InvalidSettingError for what is none of the formats, and for a line that is broken, with
    what was got and what is allowed.
    """
    return _read(read_text(path, _WANTED), path.name)


def read_import(data: bytes, name: str) -> list[Source]:
    """`load_import` for the bytes of a file."""
    return _read(decode_text(data, shown(name), _WANTED), name)


def is_trace(data: bytes) -> bool:
    """Whether a file says that it is a trace of this program, whole or broken."""
    return TRACE_FORMAT.encode("ascii") in data[:1000].partition(b"\n")[0]


def _read(text: str, name: str) -> list[Source]:
    notes: list[str] = []
    entries = _json_entries(text, name, notes)
    format_ = _format_of(entries) if entries is not None else None
    model = ""
    if entries is None:
        format_, entries = _log_entries(text)
        named = format_.log.model.findall(text) if format_ and format_.log else []
        model = ", ".join(dict.fromkeys(map(TEXT.read, named)))
    if format_ is not None and format_.left_out is not None:
        entries = _counted(entries, *format_.left_out, notes)
    if format_ is None:
        raise InvalidSettingError(f"{shown(name)} is of no kind that is read here; {_WANTED}.")
    try:
        return [
            replace(source, model=source.model or model)
            for source in _sources(format_, entries, name, notes)
        ]
    except _PlacedError as error:
        raise InvalidSettingError(f"{shown(name)}, line {error.line}: {error}.") from None


def _counted(entries: list[_Entry], path: str, value: str, notes: list[str]) -> list[_Entry]:
    """The entries that do not have this value there; how many do is noted."""
    counted = [
        entry for entry in entries
        if not (_is_there(entry.values, path) and _at(entry.values, path) == value)
    ]  # fmt: skip
    if len(counted) < len(entries):
        notes.append(f"{len(entries) - len(counted)} lines of {path} {value} are left out")
    return counted


class _PlacedError(ValueError):
    """What is wrong, with the line of it."""

    def __init__(self, line: int, told: str):
        super().__init__(told)
        self.line = line


# ---- entries


def _json_entries(text: str, name: str, notes: list[str]) -> list[_Entry] | None:
    """The JSON values of a file: all of it, or one a line; None for what does not begin as JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    lines = list(numbered_lines(text))
    first = _parsed(lines[0][1])
    if isinstance(first, str):
        whole = _parsed(text)
        if isinstance(whole, str):
            # A log may begin with a bracket as well.
            return None if _log_entries(text)[0] else _refuse_json(name, lines, first, whole)
        return [_Entry(lines[0][0], whole)]
    entries = []
    for number, line in lines:
        values = _parsed(line)
        if isinstance(values, str):
            if number == lines[-1][0] and not text.endswith("\n"):
                notes.append(f"line {number} is cut off in its middle and is left out")
                break
            raise InvalidSettingError(
                f"{shown(name)}, line {number}: it is not JSON ({values}); allowed is a JSON object."
            )
        entries.append(_Entry(number, values))
    return entries


def _refuse_json(name: str, lines: list[tuple[int, str]], first: str, whole: str) -> Any:
    is_one = len(lines) > 1 and not lines[0][1].rstrip().endswith("}")
    number, told = (None, whole) if is_one else (lines[0][0], first)
    place = "" if number is None else f", line {number}"
    raise InvalidSettingError(
        f"{shown(name)}{place}: it is not JSON ({told}); allowed is a JSON object, or one a line."
    )


def _parsed(text: str) -> Any:
    """The value of a JSON text, or what is wrong with it as a text; texts themselves are no entries."""
    try:
        value = json.loads(text)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    return "a text alone" if isinstance(value, str) else value


def _log_entries(text: str) -> tuple[Format | None, list[_Entry]]:
    for format_ in FORMATS:
        if format_.log is not None:
            entries = _answers_in(format_.log, text)
            if entries:
                return format_, entries
    return None, []


def _answers_in(log: Log, text: str) -> list[_Entry]:
    """The answers that a log tells of, in the order of their last lines."""
    open_answers: dict[str, _Entry] = {}
    ended: list[_Entry] = []
    named: re.Match[str] | None = None
    for number, line in numbered_lines(text):
        named = log.key.search(line) or named
        if named is None:
            continue
        key = named[0]
        if log.begins.search(line) and key in open_answers:
            ended.append(open_answers.pop(key))
        told = [found for pattern in log.patterns if (found := pattern.search(line))]
        if told:
            before = open_answers.pop(key, _Entry(number, named.groupdict()))
            open_answers[key] = _Entry(number, _joined(log, before.values, told))
    return [*ended, *open_answers.values()]


def _joined(log: Log, values: dict[str, Any], told: list[re.Match[str]]) -> dict[str, Any]:
    joined = dict(values)
    for found in told:
        for name, digits in found.groupdict().items():
            if digits is None:
                continue
            number = float(digits) if "." in digits else int(digits)
            joined[name] = [*joined.get(name, ()), number] if name in log.repeated else number
    return joined


# ---- formats


def _format_of(entries: list[_Entry]) -> Format | None:
    for format_ in FORMATS:
        if format_.log is None and any(
            all(_is_there(entry.values, mark) for mark in format_.marks)
            for entry in entries[:_LOOKED_AT]
        ):
            return format_
    return None


def _is_there(values: Any, paths: str) -> bool:
    try:
        return _found(values, paths) is not _MISSING
    except _BrokenError:
        return False


def _found(values: Any, paths: str) -> Any:
    """The value at the first path that is there; null counts as missing where another is."""
    found: Any = _MISSING
    for path in paths.split():
        value = _at(values, path)
        if value is not _MISSING and value is not None:
            return value
        found = value if found is _MISSING else found
    return found


def _at(values: Any, path: str) -> Any:
    done: list[str] = []
    for part in path.split("."):
        if values is None:
            return _MISSING
        if part.isdecimal():
            if not isinstance(values, list):
                raise _BrokenError(_sentence(".".join(done), values, "a list"))
            if int(part) >= len(values):
                return _MISSING
            values = values[int(part)]
        else:
            if not isinstance(values, dict):
                raise _BrokenError(_sentence(".".join(done) or "it", values, "an object"))
            if part not in values:
                return _MISSING
            values = values[part]
        done.append(part)
    return values


def _sentence(path: str, value: Any, allowed: str) -> str:
    return f"{path} is {shown(value)}; allowed is {allowed}"


# ---- records


def _sources(
    format_: Format, entries: list[_Entry], name: str, notes: list[str]
) -> Iterator[Source]:
    if format_.whole or format_.answers:
        for entry in entries:
            label = name if len(entries) == 1 else f"{name}, line {entry.line}"
            with _Place(entry.line):
                records = _records_in(format_, entry.values)
                whole = _whole_of(format_, entry.values)
                model = _model(format_, entry.values)
            yield _source(format_, label, records, whole, model, notes)
        return
    if len(entries) > MOST_RECORDS:
        raise _PlacedError(entries[MOST_RECORDS].line, f"at most {MOST_RECORDS} answers are read")
    records = []
    models: list[str] = []
    for entry in entries:
        with _Place(entry.line):
            records.append(_record(format_, entry.values))
            models.append(_model(format_, entry.values))
    named = [model for model in dict.fromkeys(models) if model]
    yield _source(format_, name, records, None, ", ".join(named), notes)


class _Place:
    """Says of what is broken in an entry at which line that is."""

    def __init__(self, line: int):
        self._line = line

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, _BrokenError):
            raise _PlacedError(self._line, str(error)) from error


def _source(
    format_: Format,
    name: str,
    records: list[Record],
    whole: Whole | None,
    model: str,
    notes: list[str],
) -> Source:
    named = [
        record if record.name else replace(record, name=str(place))
        for place, record in enumerate(records, start=1)
    ]
    return Source(
        name=name,
        format=format_.name,
        model=model,
        about=format_.about,
        every_step=format_.every_step,
        records=named,
        whole=whole,
        notes=tuple(notes),
    )


def _model(format_: Format, values: Any) -> str:
    found = _field(values, Field(format_.model, TEXT)) if format_.model else None
    return found or ""


def _records_in(format_: Format, values: Any) -> list[Record]:
    _check_needs(format_, values)
    if format_.is_columns:
        return list(_rows(format_, values))
    answers = _at(values, format_.answers)
    if not isinstance(answers, list) or len(answers) > MOST_RECORDS:
        raise _BrokenError(
            _sentence(format_.answers, answers, f"a list of at most {MOST_RECORDS} answers")
        )
    records = []
    for place, answer in enumerate(answers):
        try:
            records.append(_made(Record, format_.answer, answer, format_.every_step))
        except _BrokenError as error:
            raise _BrokenError(f"{format_.answers}.{place}.{error}") from None
    return records


def _check_needs(format_: Format, values: Any) -> None:
    for need in format_.needs:
        if _found(values, need) in (_MISSING, None):
            raise _BrokenError(f"{need} is missing; every line of {format_.name} has it")


def _record(format_: Format, values: Any) -> Record:
    error = format_.answer.get("error")
    if error is None or not _field(values, error):
        _check_needs(format_, values)
    return _made(Record, format_.answer, values, format_.every_step)


def _rows(format_: Format, values: Any) -> Iterator[Record]:
    """The answers of an entry that has a list for each of their numbers."""
    columns: dict[str, list[Any]] = {}
    for name, (path, _) in format_.answer.items():
        found = _found(values, path)
        if found is _MISSING or found is None:
            continue
        if not isinstance(found, list) or len(found) > MOST_RECORDS:
            raise _BrokenError(_sentence(path, found, f"a list of at most {MOST_RECORDS}"))
        columns[name] = found
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(
            f"{format_.answer[name].paths} has {count}" for name, count in lengths.items()
        )
        raise _BrokenError(f"{told}; allowed are lists of one length")
    for row in zip(*columns.values(), strict=True):
        answer = {
            format_.answer[name].paths: value for name, value in zip(columns, row, strict=True)
        }
        yield _made(Record, format_.answer, answer, format_.every_step)


def _whole_of(format_: Format, values: Any) -> Whole | None:
    if not format_.whole:
        return None
    whole = _made(Whole, format_.whole, values, format_.every_step, format_.position_rates)
    return whole


def _made(
    cls: type[RecordT],
    described: Mapping[str, Field],
    values: Any,
    every_step: bool,
    position_rates: str = "",
) -> RecordT:
    found = {name: _field(values, where) for name, where in described.items()}
    failure = found.pop("failure", None)
    found |= {"error": found.get("error") or failure} if failure else {}
    if found.get("error"):
        # What a client writes for a request that failed are no measurements.
        told = ("name", "category", "error")
        return cls(**{name: found.get(name) or "" for name in told})  # type: ignore[arg-type]
    if "num_drafted" in found and found["num_drafted"] is None and not found["num_accepted"]:
        found["num_accepted"] = None  # of no drafts that are known
    texts = {item.name for item in fields(cls) if item.default == ""}
    record = cls(**{name: value for name, value in found.items() if value or name not in texts})
    if position_rates:
        rates = _field(values, Field(position_rates, RATES))
        record = replace(record, accepted_counts=_counts_of(rates, record))
    problem = contradiction(record, every_step=every_step)
    if problem is None:
        record = replace(record, **completed(record, every_step=every_step))
        problem = contradiction(record, every_step=every_step)
    if problem is not None:
        raise _BrokenError(problem)
    for name, value in vars(record).items():
        if isinstance(value, int) and value > MOST_COUNTED:
            raise _BrokenError(f"{name} comes to {value}; allowed are {MOST_COUNTED} at most")
    return record


def _counts_of(rates: tuple[float, ...] | None, whole: Record) -> tuple[int, ...] | None:
    """Steps by accepted draft tokens, of the shares that accepted at least 1, 2, ...; None unless they
    come out as whole numbers that make the total: counters of a server are not read at one moment."""
    num_steps = whole.num_drafted_steps
    if rates is None or not num_steps:
        return None
    at_least = [num_steps, *(rate * num_steps for rate in rates), 0]
    near = [round(value) for value in at_least]
    if any(abs(value - other) > 1e-3 for value, other in zip(at_least, near, strict=True)):
        return None
    counts = [more - fewer for more, fewer in pairwise(near)]
    is_whole = min(counts) >= 0 and sum(near[1:]) == whole.num_accepted
    return tuple(counts) if is_whole else None


def _field(values: Any, where: Field) -> Any:
    """A value as a record holds it; None for what is missing, null or stands for neither."""
    found = _found(values, where.paths)
    if found is _MISSING or found is None:
        return None
    read: Callable[[Any], Any] = where.kind.read
    try:
        return read(found)
    except (ValueError, TypeError, OverflowError):
        path = next(path for path in where.paths.split() if _at(values, path) is found)
        raise _BrokenError(_sentence(path, found, where.kind.allowed)) from None
