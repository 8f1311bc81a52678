"""What llama.cpp needs of a loaded target: its GGUF file, and how much context to keep."""

from pathlib import Path
from typing import NamedTuple

from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel

_MOST_CONTEXT = 4096


class GgufTarget(NamedTuple):
    """A target as llama.cpp reads it."""

    path: Path
    weights: str
    """In words: the file's own number format."""
    context: int
    """In tokens."""


def gguf_target(target: LoadedModel, name: str) -> GgufTarget:
    """Raises InvalidSettingError, in the words of the engine `name`, for a target without a file."""
    if target.source.gguf is None:
        raise InvalidSettingError(
            f"{target.identity.name} is no GGUF file, which {name} needs; give another target or "
            f"leave {name} out."
        )
    return GgufTarget(
        target.source.gguf,
        f"{target.source.file_type}, as the file has them",
        min(target.context_limit, _MOST_CONTEXT),
    )
