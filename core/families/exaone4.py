"""EXAONE 4: norms behind each part and of heads; layers beside those with a window have no positions."""

from collections.abc import Callable
from typing import Any

from core.families.family import HEAD_NORMS, OUT_NORMS, Family, Gguf, GgufKey


def _positions(get: Callable[..., Any]) -> dict[str, Any]:
    return {"rotates_windows_alone": get("sliding_window") is not None}


FAMILY = Family(
    model_type="exaone4",
    class_name="Exaone4ForCausalLM",
    gguf=Gguf(
        "exaone4",
        settings={"sliding_window": GgufKey("attention.sliding_window", lambda _: None)},
        pattern=4,
        has_divisors=True,
    ),
    norms=OUT_NORMS | HEAD_NORMS,
    window="sliding_window",
    has_layer_types=True,
    by_settings=_positions,
    without_effect=frozenset({"sliding_window_pattern"}),
)
