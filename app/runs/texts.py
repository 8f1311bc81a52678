"""Texts that visitors send, made fit for tokenizers, files and pages."""

from typing import Any

from core.errors import InvalidSettingError

# A context of 128k tokens holds less; a page that gets more would only choke on it.
MOST_CHARACTERS = 1_000_000


def checked_text(text: Any, name: str) -> str:
    """The text; halves of characters, which JSON can name and nothing can hold, become "?".

    Raises InvalidSettingError where it is no text, empty, or too long.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidSettingError(f"The {name} is empty; give one.")
    if len(text) > MOST_CHARACTERS:
        raise InvalidSettingError(
            f"The {name} has {len(text)} characters; give at most {MOST_CHARACTERS}."
        )
    return whole_characters(text)


def whole_characters(text: str) -> str:
    """The text with "?" for halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")
