"""JSON never holds what JSON has no word for."""

import json
import math
from typing import NamedTuple

import pytest

from core.runtime.strict_json import dumps


class Pair(NamedTuple):
    first: float
    second: object


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_null_wherever_they_stand(value: float) -> None:
    values = {"a": value, "b": [1.5, (value, {"c": value})], "d": Pair(value, "NaN"), "e": 2}
    read = json.loads(dumps(values, indent=1), parse_constant=pytest.fail)
    assert read == {"a": None, "b": [1.5, [None, {"c": None}]], "d": [None, "NaN"], "e": 2}


def test_everything_else_is_as_json_writes_it() -> None:
    values = {"a": [1, 2.5, None, True, "\u00e4"], "b": {"c": []}}
    for layout in ({}, {"indent": 1}, {"ensure_ascii": False, "separators": (",", ":")}):
        assert dumps(values, **layout) == json.dumps(values, **layout)


def test_what_is_no_json_is_still_an_error() -> None:
    with pytest.raises(TypeError):
        dumps({"a": object(), "b": math.nan})
