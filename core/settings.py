"""What all settings classes share: fields with limits and help texts, and their checks.

A settings class is a frozen dataclass that mixes `Settings` in and makes its fields with `setting`.
"""

import dataclasses
import math
import re
import types
from collections.abc import Callable, Iterable
from dataclasses import field
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from core.errors import InvalidSettingError, shown

SettingsT = TypeVar("SettingsT", bound="Settings")


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    flags: tuple[str, ...] = (),
    choices: Callable[[], Iterable[str]] = tuple,
    is_verbatim: bool = False,
) -> Any:
    """A dataclass field with its help text and inclusive limits; `flags` rename its option, and
    `choices` lists the allowed texts where the type does not.

    A list `is_verbatim` where commas and white space belong to its texts: each is an option, or a
    line of a form, and written as `unescaped` reads it.
    """
    metadata = {
        "help": help, "low": low, "high": high, "flags": flags, "choices": choices,
        "is_verbatim": is_verbatim,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


# No vocabulary has longer ids.
_MOST_DIGITS = 18
_ESCAPES = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


def unescaped(text: str) -> str:
    """A text from one line, in which \\n, \\r, \\t and two backslashes stand for a line end, a carriage
    return, a tab and a backslash; other backslashes are themselves."""
    return re.sub(r"\\([\\nrt])", lambda found: _ESCAPES[found[1]], text)


def escaped(text: str) -> str:
    """Inverse of `unescaped`."""
    for letter, character in _ESCAPES.items():  # backslashes first
        text = text.replace(character, "\\" + letter)
    return text


class Settings:
    """Mixin of all settings classes: type and range checks, and the way to and from JSON."""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        hints = _hints_of(cls)
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            _check_type(item.name, value, hints[item.name])
            _check_range(item.name, value, item.metadata)
            _check_characters(item.name, value)
            choices = tuple(item.metadata["choices"]()) if "choices" in item.metadata else ()
            if choices and value not in choices:
                raise InvalidSettingError(
                    f"{item.name} is {shown(value)}; give one of {', '.join(choices)}."
                )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, the same when it is read back; `from_dict` inverts it."""
        return dataclasses.asdict(self, dict_factory=_with_lists)  # type: ignore[call-overload, no-any-return]


def _with_lists(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs}


def default_of(cls: type[Settings], name: str) -> Any:
    """A setting's default value."""
    return next(item.default for item in dataclasses.fields(cls) if item.name == name)  # type: ignore[arg-type]


@cache
def _hints_of(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _check_type(name: str, value: Any, hint: Any) -> None:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if get_origin(option) is Literal:
            # True is 1 and 4.0 is 4 for `in`.
            if any(value == word and type(value) is type(word) for word in get_args(option)):
                return
        elif option is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                if not _is_finite(value):
                    break
                return
        elif option is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return
        elif get_origin(option) is tuple:
            inner = get_args(option)[0]
            if isinstance(value, tuple) and all(isinstance(part, inner) for part in value):
                return
        elif isinstance(value, option):
            return
    raise InvalidSettingError(f"{name} is {shown(value)}; give {_describe(options)}.")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _describe(options: tuple[Any, ...]) -> str:
    words = []
    for option in options:
        if get_origin(option) is Literal:
            words.append("one of " + ", ".join(str(value) for value in get_args(option)))
        elif option is type(None):
            words.append("nothing")
        elif get_origin(option) is tuple:
            words.append("a list of " + get_args(option)[0].__name__)
        else:
            words.append(_TYPE_WORDS.get(option, option.__name__))
    return " or ".join(words)


_TYPE_WORDS = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}


def _check_range(name: str, value: Any, metadata: Any) -> None:
    low, high = metadata.get("low"), metadata.get("high")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise InvalidSettingError(f"{name} is {shown(value)}; give a value {bounds}.")


def _check_characters(name: str, value: Any) -> None:
    """JSON can name halves of characters, which no file or page can hold."""
    try:
        for text in (
            (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
        ):
            text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidSettingError(
            f"{name} is {shown(value)}, which has half of a character; give whole ones."
        ) from None


def build(cls: type[SettingsT], values: dict[str, Any]) -> SettingsT:
    """Makes settings from a dict; lists become tuples, and unknown names are refused."""
    known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known, key=str)
    if unknown:
        names = ", ".join(sorted(known))
        raise InvalidSettingError(
            f"unknown setting {shown(unknown[0])} for {cls.__name__}; known are {names}."
        )
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def named_token(word: str) -> int | str:
    """A token by its id, which a number is, or by its exact text."""
    is_id = word.isascii() and word.isdecimal() and len(word) <= _MOST_DIGITS
    return int(word) if is_id else word


def parse_bytes(text: str) -> int:
    """A size such as 6GiB or 500MB in bytes; raises InvalidSettingError for anything else."""
    word = text.strip().lower()
    unit = next((unit for unit in _UNITS if word.endswith(unit)), "")
    try:
        size = float(word.removesuffix(unit)) * _UNITS.get(unit, 1)
    except ValueError:
        size = math.nan
    if not 0.0 < size < 2.0**63:
        raise InvalidSettingError(f"{shown(text)} is no size; give one such as 6GiB or 500MB.")
    return int(size)


_UNITS = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
