"""JSON as every reader takes it. The format has no word for NaN or infinity, and Python writes one."""

import json
import math
from typing import Any


def dumps(values: Any, **layout: Any) -> str:
    """`json.dumps` with null for numbers that are not finite: undefined, as None is."""
    try:
        return json.dumps(values, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(_defined(values), allow_nan=False, **layout)


def _defined(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return value
