"""What the fields of a description take: how a value is checked, and what becomes of it."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_MOST = 2**63 - 1
MOST_COUNTED = 10**12
"""Of anything in an answer, so that sums over all answers fit the frames."""
MOST_TEXT = 120
_MOST_STEPS = 10**6
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0, "s": 1.0}


class Kind(NamedTuple):
    """A way to read a value."""

    allowed: str
    """What is taken, as a message says it."""
    read: Callable[[Any], Any]
    """The value as a record holds it, None where it stands for what was not measured; raises
    ValueError for what is not allowed."""


def _count(value: Any) -> int:
    # Programs that compute in floats write 9.0.
    is_whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, int) or is_whole):
        raise ValueError
    if not 0 <= value <= MOST_COUNTED:
        raise ValueError
    return int(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if isinstance(value, float) and math.isnan(value):
        return None  # Python's word for a mean of nothing
    if not 0 <= value <= _MOST:
        raise ValueError
    return float(value)


def _scaled(scale: float, most: float = math.inf) -> Callable[[Any], float | None]:
    def read(value: Any) -> float | None:
        found = _number(value)
        if found is not None and found > most:
            raise ValueError
        return None if found is None else found * scale

    return read


def _unless_zero(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: read(value) or None


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    # One line: names stand in tables and figures.
    words = " ".join(re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", str(value)).split())
    words = words.encode("utf-8", "backslashreplace").decode("utf-8")
    return words if len(words) <= MOST_TEXT else f"{words[:MOST_TEXT]}…"


def _each(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...] | None]:
    def all_of(value: Any) -> tuple[Any, ...] | None:
        if not isinstance(value, list) or len(value) > _MOST_STEPS:
            raise ValueError
        found = tuple(map(read, value))
        return found if found and None not in found else None

    return all_of


def _total(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def of(value: Any) -> Any:
        found = _each(read)(value)
        return None if found is None else sum(found)

    return of


def _histogram(value: Any) -> tuple[int, ...]:
    """A list from 0 on, or an object whose keys are the numbers that occur."""
    if isinstance(value, dict):
        found = {_count(int(key) if str(key).isdecimal() else None): _count(count)
                 for key, count in value.items()}  # fmt: skip
        if max(found, default=0) > _MOST_STEPS:
            raise ValueError
        return tuple(found.get(place, 0) for place in range(max(found, default=-1) + 1))
    return tuple(map(_count, value)) if isinstance(value, list) else _refused()


def _refused() -> Any:
    raise ValueError


def _length(value: Any) -> int:
    length = _count(value)
    return length - 1 if length else _refused()


def _seconds_of(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("unit") not in _UNITS:
        raise ValueError
    read, found = _scaled(_UNITS[value["unit"]]), value.get("value")
    return _each(read)(found) if isinstance(found, list) else read(found)


def _measured_count(value: Any) -> int:
    return _count(value.get("value") if isinstance(value, dict) else None)


def _measured_mean(value: Any) -> Any:
    return _unless_zero(_number)(value.get("value") if isinstance(value, dict) else None)


def _broken_turn(value: Any) -> str:
    if not isinstance(value, list):
        raise ValueError
    # Both programs write this word for a turn that broke, with the counts of the turn before it.
    return "a turn broke" if "ERROR" in value else ""


def _milliseconds_each(value: Any) -> float | None:
    found = _number(value)
    return 1e3 / found if found else None


def _said_if(sign: bool, words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        return (words if value is sign else "") if isinstance(value, bool) else _refused()

    return read


TEXT = Kind("a text or a number", _text)
COUNT = Kind("a whole number from 0", _count)
COUNT_OR_UNTOLD = Kind("a whole number from 0, which stands for none told", _unless_zero(_count))
SECONDS = Kind("a number from 0", _number)
SECONDS_OR_UNTOLD = Kind("a number from 0, which stands for none told", _unless_zero(_number))
MILLISECONDS = Kind("a number from 0", _scaled(1e-3))
MILLISECONDS_OR_UNTOLD = Kind(
    "a number from 0, which stands for none told", _unless_zero(_scaled(1e-3))
)
NANOSECONDS = Kind("a number from 0", _scaled(1e-9))
MEAN = Kind("a number from 0", _number)
MEAN_OR_UNTOLD = Kind("a number from 0, which stands for none told", _unless_zero(_number))
RATE = Kind("a number from 0 to 1", _scaled(1.0, 1.0))
PERCENT = Kind("a number from 0 to 100", _scaled(0.01, 100.0))
COUNTS = Kind("a list of whole numbers from 0", _each(_count))
SECONDS_LIST = Kind("a list of numbers from 0", _each(_number))
TOTAL_COUNT = Kind("a list of whole numbers from 0", _total(_count))
TOTAL_SECONDS = Kind("a list of numbers from 0", _total(_number))
LAST_INDEXES = Kind("a list of whole numbers from 0", _total(lambda value: _count(value) + 1))
LENGTHS = Kind("a list of whole numbers from 1", _each(_length))
HISTOGRAM = Kind("a list of whole numbers from 0, or an object of them", _histogram)
RATES = Kind("a list of numbers from 0 to 1", _each(_scaled(1.0, 1.0)))
MEASURED = Kind(f"an object with a value from 0 and a unit of {', '.join(_UNITS)}", _seconds_of)
MEASURED_COUNT = Kind("an object whose value is a whole number from 0", _measured_count)
MEASURED_MEAN = Kind("an object whose value is a number from 0", _measured_mean)
BROKEN_TURN = Kind("a list of texts", _broken_turn)
FAILED_IF_FALSE = Kind("true or false", _said_if(False, "it failed"))
CANCELLED_IF_TRUE = Kind("true or false", _said_if(True, "it was cancelled"))
MILLISECONDS_EACH = Kind("a number from 0", _milliseconds_each)
