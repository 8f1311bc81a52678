"""What is told of a start."""

import pytest

from core.benchmark.start import (
    Start,
    import_milliseconds,
    import_table,
    measured_start,
    start_table,
)
from core.errors import InvalidSettingError

LINES = """import time: self [us] | cumulative | imported package
import time:      1500 |       1500 |     torch._C
import time:       500 |       2000 |   torch
a line of something else
import time:       250 |        250 | numpy
""".splitlines()


def test_a_package_has_the_time_of_all_its_modules() -> None:
    assert import_milliseconds(LINES) == {"torch": 2.0, "numpy": 0.25}


def test_the_dearest_package_comes_first() -> None:
    assert import_table(LINES).rows == [("torch", "2"), ("numpy", "0"), ("all others", "0")]


def test_starts_are_told_by_their_median_and_range() -> None:
    starts = [Start(1.5, 2.0), Start(1.0, 1.25), Start(2.0, 4.0)]
    assert start_table(starts).rows == [
        ("first token", "1.50 (1.00-2.00)"),
        ("exit", "2.00 (1.25-4.00)"),
    ]


def test_a_start_without_a_token_is_no_measurement() -> None:
    with pytest.raises(InvalidSettingError, match=r"came to no token .*q5"):
        measured_start(["--weights", "q5"])
