"""How values and reasons of others are quoted in a sentence."""

import pytest

from core.command_line import told
from core.errors import (
    InvalidSettingError,
    SpecDecodesError,
    StorageError,
    TraceFormatError,
    reason_of,
    shown,
)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("It broke.", "It broke"),
        ("It broke.\nAt line 3.", "It broke"),
        ("Error for field 'x':\n    3 is odd.\nmore", "Error for field 'x': 3 is odd"),
        ("\n  It broke\n", "It broke"),
        ("", "OSError"),
        ("no \ud800", "no \\ud800"),
        ("a" * 301, "a" * 300 + "..."),
    ],
)  # fmt: skip
def test_a_reason_is_the_first_line_that_tells_of_it(message: str, reason: str) -> None:
    assert reason_of(OSError(message)) == reason


def test_values_that_no_file_takes_are_shown_in_numbers() -> None:
    assert shown("\ud800") == "'\\ud800'"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageError("The disk is full."), 1),
        (InvalidSettingError("depth is 0."), 2),
        (TraceFormatError("it is empty.", 1), 2),
    ],
)
def test_a_command_ends_with_one_sentence_and_the_status_of_its_error(
    error: SpecDecodesError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(error) == status
    assert capsys.readouterr().err == f"{error}\n"
