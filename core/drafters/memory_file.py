"""A memory on disk, for commands that are asked for one with `--memory`."""

import json
from pathlib import Path
from typing import Any, Literal

from core.command_line import check_writable, told_if_not_written
from core.drafters.suffix_memory import MAX_TOKEN_ID, MAX_TOKENS, SuffixMemory
from core.errors import InvalidSettingError, shown
from core.runtime.strict_json import dumps
from core.runtime.text_files import numbered_lines, read_text

FORMAT = "specdecodes-memory"
VERSION = 1
# Ten digits, a comma and a space a token.
_MAX_FILE_BYTES = 16 * MAX_TOKENS
_WANTED = "give a file that --memory wrote, or one that is not there yet"

# As the option gives it: a file, or one without, which lasts as long as the command.
Asked = Path | Literal[True] | None


def asked_memory(asked: Asked) -> SuffixMemory | None:
    """The memory of a command's runs; raises InvalidSettingError for a file that cannot be one."""
    if not isinstance(asked, Path):
        return SuffixMemory() if asked else None
    check_writable(asked)
    return load_memory(asked)


def keep_memory(memory: SuffixMemory | None, asked: Asked) -> None:
    """Writes it, where that was asked for; raises StorageError where the disk does not take it."""
    if memory is not None and isinstance(asked, Path):
        with told_if_not_written(asked):
            save_memory(memory, asked)


def save_memory(memory: SuffixMemory, path: Path) -> None:
    """Writes a memory: JSON lines, a header first, then the token ids of an answer each.

    The file is whole or not there; raises OSError.
    """
    header = {"format": FORMAT, "version": VERSION, "tokenizer": memory.tokenizer}
    lines = [dumps(header), *map(dumps, memory.answers)]
    temporary = path.with_name(path.name + ".part")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    temporary.replace(path)


def load_memory(path: Path) -> SuffixMemory:
    """The memory that a file holds; an empty one where there is none.

    Raises InvalidSettingError for what cannot be read or is no memory, with the line.
    """
    memory = SuffixMemory()
    try:
        if not path.exists():
            return memory
        num_bytes = path.stat().st_size
    except OSError as error:
        raise InvalidSettingError(
            f"{path} cannot be read ({error.strerror or error}); {_WANTED}."
        ) from error
    if num_bytes > _MAX_FILE_BYTES:
        raise InvalidSettingError(
            f"{path} has {num_bytes} bytes, and a memory at most {_MAX_FILE_BYTES}; {_WANTED}."
        )
    lines = [(number, _parsed(line)) for number, line in numbered_lines(read_text(path, _WANTED))]
    if not lines or not _is_header(lines[0][1]):
        raise InvalidSettingError(f"{path} has no {FORMAT} header; {_WANTED}.")
    header = lines[0][1]
    if header["version"] != VERSION:
        raise InvalidSettingError(
            f"{path} has version {shown(header['version'])}, and this program reads {VERSION}; "
            "open it with the program that wrote it."
        )
    for number, answer in lines[1:]:
        if not _is_answer(answer):
            raise InvalidSettingError(f"{path}, line {number}: it is no answer; {_WANTED}.")
        memory.add(answer)
    memory.tokenizer = header["tokenizer"]
    return memory


def _parsed(line: str) -> Any:
    """The line's value; None where it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_header(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and values.get("format") == FORMAT
        and type(values.get("version")) is int
        and isinstance(values.get("tokenizer", 0), str | None)
    )


def _is_answer(values: Any) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(type(value) is int and 0 <= value <= MAX_TOKEN_ID for value in values)
    )
