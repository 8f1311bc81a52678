"""The errors of the engine; every message says what was got, what is allowed and what to do."""

from typing import Any

MOST_SHOWN = 200
_MOST_REASON = 300


class SpecDecodesError(Exception):
    """Base of all errors that a user can cause or mend; the message is one clear sentence."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A class may be made of other arguments than it keeps; pickle would give it those it keeps.
        return _restored, (type(self), self.args, vars(self).copy())


def _restored(
    cls: type[SpecDecodesError], args: tuple[Any, ...], values: dict[str, Any]
) -> SpecDecodesError:
    """The error that was pickled, in whatever process."""
    error = cls.__new__(cls, *args)
    vars(error).update(values)
    return error


class InvalidSettingError(SpecDecodesError, ValueError):
    """A setting, prompt or argument outside what is allowed."""


class ModelUnavailableError(SpecDecodesError):
    """A model that cannot be found, fetched, verified, converted or loaded."""


class DrafterUnavailableError(SpecDecodesError):
    """A drafter that cannot run with this target or on this machine."""


class BadLogitsError(SpecDecodesError):
    """Outputs of a model that are no numbers, so that no token can be chosen by them."""


class KernelsUnavailableError(SpecDecodesError):
    """Compiled kernels that cannot be had on this machine."""


class StorageError(SpecDecodesError):
    """A result that the disk does not take."""


class TraceFormatError(SpecDecodesError):
    """A trace file that cannot be read; `line_number` counts from 1."""

    def __init__(self, message: str, line_number: int):
        super().__init__(f"line {line_number}: {message}")
        self.line_number = line_number


def shown(value: object) -> str:
    """A given value as a message quotes it: on one line, and cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits, deep lists
        return f"a value of type {type(value).__name__}"
    text = _writable(text)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text)} characters)"


def reason_of(error: BaseException) -> str:
    """What another library's error says, as a sentence can hold it: its first line that tells of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # Headings, such as "Validation error for field 'x':", leave what is wrong to the next line.
    num_lines = 2 if lines[0].endswith(":") else 1
    text = _writable(" ".join(lines[:num_lines]).rstrip(".:"))
    return text if len(text) <= _MOST_REASON else f"{text[:_MOST_REASON]}..."


def _writable(text: str) -> str:
    """With lone halves of surrogate pairs, which no file takes, as their numbers."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
