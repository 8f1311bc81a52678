"""The folder of a trained head or block drafter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.drafters.eagle_head import write_parts
from core.runtime.strict_json import dumps

_MOST_FILE_BYTES = 15_000_000


def as_written(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Floating numbers in bfloat16, all others as they are."""
    return {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def write_trained(
    state: Mapping[str, torch.Tensor],
    folder: Path,
    described: Mapping[str, Any],
    figures: Mapping[str, float],
    step: int,
) -> None:
    """Writes safetensors files, and a config.json that also tells figures after so many steps."""
    write_parts(as_written(state), folder, {"format": "pt"}, _MOST_FILE_BYTES)
    told = {
        **described,
        "steps": step,
        "held_out": {name: round(value, 4) for name, value in figures.items()},
    }
    (folder / "config.json").write_text(dumps(told, indent=1) + "\n")
