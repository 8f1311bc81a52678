"""Text from outside: UTF-8, with or without a byte-order mark, lines that end with \\n or \\r\\n.

Nothing else ends a line: `str.splitlines` cuts at form feeds, U+0085 and U+2028 as well, which JSON
strings and prompts may hold.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from core.errors import InvalidSettingError, shown

# As the path of a text, for what is piped in.
STANDARD_INPUT = "-"
BYTE_ORDER_MARK = "\ufeff"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, wanted: str) -> str:
    """The text of a file, or of the standard input for "-"; without its byte-order mark.

    `wanted` says what to give instead: "give a file with a prompt a line". Raises
    InvalidSettingError for what cannot be read or is no UTF-8 text, with the line where it breaks.
    """
    if str(path) == STANDARD_INPUT:
        data = sys.stdin.buffer.read() if sys.stdin is not None else b""
        return decode_text(data, "standard input", wanted)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidSettingError(
            f"{_name_of(path)} cannot be read ({reason}); {wanted}."
        ) from error
    return decode_text(data, _name_of(path), wanted)


def decode_text(data: bytes, name: str, wanted: str) -> str:
    """Bytes as `read_text` reads them; `name` says whose they are."""
    if data.startswith(UTF16_MARKS):
        raise InvalidSettingError(f"{name} is UTF-16 text; save it as UTF-8, or {wanted}.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidSettingError(
            f"{name}, line {number}: it is not UTF-8 text (byte 0x{data[error.start]:02X}); save it "
            f"as UTF-8, or {wanted}."
        ) from error
    place = text.find("\0")
    if place >= 0:
        number = text.count("\n", 0, place) + 1
        raise InvalidSettingError(
            f"{name}, line {number}: it holds bytes of 0, as no text does; {wanted}."
        )
    return text.removeprefix(BYTE_ORDER_MARK)


def lines_of(text: str) -> list[str]:
    """The lines of a text without their ends; an end at its very end begins no further line."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that hold more than blanks, with their numbers from 1."""
    return ((number, line) for number, line in enumerate(lines_of(text), start=1) if line.strip())


def _name_of(path: Path) -> str:
    """The path as a message names it: quoted where it holds more than can be printed."""
    return str(path) if str(path).isprintable() else shown(str(path))
