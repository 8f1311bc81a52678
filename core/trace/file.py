"""Traces on disk: JSON lines, a header first, then one event a line.

Opens without torch. A line that is not what it should be raises TraceFormatError with its number.
"""

import dataclasses
import json
import math
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    Literal,
    TextIO,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from core.errors import TraceFormatError, shown
from core.runtime.text_files import BYTE_ORDER_MARK, UTF16_MARKS
from core.trace.check import TraceChecker
from core.trace.events import EVENT_CLASSES, Committed, Event, RunFinished, RunStarted, TokenTexts
from core.trace.stats import RunStats, collect_stats

FORMAT = "specdecodes-trace"
VERSION = 9
# What earlier versions lack has defaults; what only they have is read past.
_READABLE_VERSIONS = (1, 2, 3, 4, 5, 6, 7, 8, VERSION)
_ONLY_EARLIER = {"proposed": {"first_s"}}
MAX_LINE_CHARACTERS = 4_000_000
_MAX_INT = 2**63 - 1

EventT = TypeVar("EventT", bound=Event)


@dataclass(slots=True)
class Trace:
    """The events of one run in order, with what readers ask of them."""

    events: list[Event] = field(default_factory=list)

    def of_kind(self, cls: type[EventT]) -> Iterator[EventT]:
        return (event for event in self.events if isinstance(event, cls))

    def first(self, cls: type[EventT]) -> EventT | None:
        return next(self.of_kind(cls), None)

    @property
    def run_id(self) -> str:
        started = self.first(RunStarted)
        return started.run_id if started else ""

    @property
    def token_texts(self) -> dict[int, str]:
        """Text of every token id that the events name."""
        table: dict[int, str] = {}
        for event in self.of_kind(TokenTexts):
            table.update(zip(event.token_ids, event.texts, strict=True))
        return table

    @property
    def token_ids(self) -> list[int]:
        """Of the answer, the beginning of a branch with it; -1 where a server tells none."""
        started = self.first(RunStarted)
        emitted = (token_id for event in self.of_kind(Committed) for token_id in event.token_ids)
        return [*(started.prefix_token_ids if started else ()), *emitted]

    @property
    def text(self) -> str:
        """The text of the answer, the beginning of a branch with it."""
        started, finished = self.first(RunStarted), self.first(RunFinished)
        pieces = [*(started.prefix_texts if started else ())]
        pieces += [piece for event in self.of_kind(Committed) for piece in event.texts]
        return "".join(pieces) + (finished.tail_text if finished else "")

    @property
    def lossy_rule(self) -> str:
        """The rule that kept its drafts, where that changed the output's distribution; else ""."""
        started = self.first(RunStarted)
        return lossy_rule_of(started) if started else ""

    @property
    def stats(self) -> RunStats:
        return collect_stats(self.events)


def lossy_rule_of(started: RunStarted) -> str:
    """See `Trace.lossy_rule`. Of the rules of the time when runs did not say it, two were lossless,
    and with greedy settings or without drafts all were."""
    if started.lossy_rule is not None:
        return started.lossy_rule
    config = started.config
    rule, sampling = config.get("accept"), config.get("sampling")
    if not isinstance(sampling, dict) or config.get("mode") == "naive":
        return ""
    if not sampling.get("do_sample") or sampling.get("temperature") == 0:
        return ""
    return rule if isinstance(rule, str) and rule not in ("match", "rejection") else ""


def header_line() -> str:
    return json.dumps({"kind": "header", "format": FORMAT, "version": VERSION}, allow_nan=False)


def event_line(event: Event) -> str:
    """One event as a line without its line end; ValueError on a number that JSON cannot hold."""
    return json.dumps(event.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_trace(trace: Trace, file: TextIO) -> None:
    file.write(header_line() + "\n")
    for event in trace.events:
        file.write(event_line(event) + "\n")


def save_trace(trace: Trace, path: Path) -> None:
    """Writes a trace under a temporary name and renames it, so that no half file is ever seen.

    What is no file, such as /dev/stdout, is written as it is.
    """
    is_special = path.exists() and not path.is_file()
    temporary = path if is_special else path.with_name(path.name + ".part")
    # A message of the system may hold bytes that are no text, and must not stop the saving.
    with temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        write_trace(trace, file)
    if not is_special:
        temporary.replace(path)


def load_trace(path: Path) -> Trace:
    with path.open("rb") as file:
        return read_trace(decoded_lines(file))


def decoded_lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a trace with their ends; only \\n ends one.

    Raises TraceFormatError for one that is not UTF-8 text. A last line without its end may break off
    within a character: it is not JSON then either.
    """
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith(UTF16_MARKS):
            raise TraceFormatError("the file is UTF-16 text; save it as UTF-8.", number)
        try:
            yield line.decode("utf-8", "strict" if line.endswith(b"\n") else "replace")
        except UnicodeDecodeError as error:
            raise TraceFormatError(
                f"it is not UTF-8 text (byte 0x{line[error.start]:02X}); give a trace file.", number
            ) from None


def read_trace(lines: Iterable[str]) -> Trace:
    """Reads a trace; a file cut off in its last line loses only that line if it has no line end."""
    trace = Trace()
    checker = TraceChecker()
    rest = iter(lines)
    number = 0
    for number, line in enumerate(rest, start=1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise TraceFormatError(
                f"it has {len(line)} characters; at most {MAX_LINE_CHARACTERS} are allowed.", number
            )
        try:
            values = _parse(line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line)
        except (ValueError, RecursionError) as error:
            if number > 1 and not line.endswith("\n") and next(rest, None) is None:
                return trace
            raise TraceFormatError(
                f"it is not JSON ({error}); give a trace file.", number
            ) from None
        if not isinstance(values, dict):
            raise TraceFormatError("it is not a JSON object; give a trace file.", number)
        if number == 1:
            _check_header(values)
            continue
        event = event_from_dict(values, number)
        problem = checker.problem(event)
        if problem is not None:
            raise TraceFormatError(f"{event.kind}: {problem}.", number)
        trace.events.append(event)
    if number == 0:
        raise TraceFormatError("the file is empty; give a trace file.", 1)
    return trace


def _parse(line: str) -> Any:
    values = json.loads(line, parse_constant=_refuse_constant, parse_float=_finite)
    if "\\u" in line:  # JSON can name halves of characters, which no file or page can hold
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return values


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _check_header(values: dict[str, Any]) -> None:
    if values.get("kind") != "header" or values.get("format") != FORMAT:
        raise TraceFormatError(f"there is no {FORMAT} header; give a trace file.", 1)
    version = values.get("version")
    if version not in _READABLE_VERSIONS or isinstance(version, bool):
        raise TraceFormatError(
            f"the trace has version {shown(version)} and this program reads up to {VERSION}; "
            "open it with the program that wrote it.",
            1,
        )


def event_from_dict(values: dict[str, Any], line_number: int) -> Event:
    """Inverse of `Event.to_dict`, with every field's type checked."""
    kind = values.get("kind")
    cls = EVENT_CLASSES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise TraceFormatError(f"unknown event kind {shown(kind)}.", line_number)
    checks = _field_checks(cls.kind)
    unread = {"kind", *_ONLY_EARLIER.get(cls.kind, ())}
    given = {name: value for name, value in values.items() if name not in unread}
    for name in checks.keys() - given.keys() - _with_defaults(cls.kind):
        raise TraceFormatError(f"{kind} lacks {name!r}.", line_number)
    for name, value in given.items():
        check = checks.get(name)
        if check is None:
            raise TraceFormatError(f"{kind} has an unknown field {shown(name)}.", line_number)
        if not check(value):
            raise TraceFormatError(f"{kind} has a wrong value in {name!r}.", line_number)
    return cls(**given)


@cache
def _field_checks(kind: str) -> dict[str, Callable[[Any], bool]]:
    cls = EVENT_CLASSES[kind]
    hints = get_type_hints(cls)
    return {item.name: _checker(hints[item.name]) for item in dataclasses.fields(cls)}


@cache
def _with_defaults(kind: str) -> frozenset[str]:
    return frozenset(
        item.name
        for item in dataclasses.fields(EVENT_CLASSES[kind])
        if (item.default, item.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
    )


def _checker(hint: Any) -> Callable[[Any], bool]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        checks = [_checker(arg) for arg in args]
        return lambda value: any(check(value) for check in checks)
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in args
    if origin is list:
        inner = _checker(args[0])
        return lambda value: isinstance(value, list) and all(map(inner, value))
    if origin is dict:
        return lambda value: isinstance(value, dict)
    if hint is float:
        return lambda value: isinstance(value, float) or _is_int(value)
    if hint is int:
        return _is_int
    plain: type = hint
    return lambda value: isinstance(value, plain)


def _is_int(value: Any) -> bool:
    # Frames hold 64 bits.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INT
