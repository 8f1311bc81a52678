"""Whether the weights in a folder can be what its configuration says.

A module is built from the configuration before any weight is read, so that one of a billion layers
would keep the program busy for ever.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

_WIDTHS = (
    "vocab_size", "hidden_size", "intermediate_size", "head_dim", "num_attention_heads",
    "num_key_value_heads",
)  # fmt: skip


def check_folder(folder: Path) -> None:
    """Raises ValueError with a reason where the sizes of configuration and weights disagree, and
    what safetensors raises for a broken file."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("config.json is no object")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError("there are no safetensors files")
    num_tensors = sum(_num_tensors(path) for path in files)
    num_bytes = sum(path.stat().st_size for path in files)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            _check_sizes(part, num_tensors, num_bytes)


def _num_tensors(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return len(file.keys())


def _check_sizes(config: dict[str, Any], num_tensors: int, num_bytes: int) -> None:
    for name, most in (("num_hidden_layers", num_tensors), *((w, num_bytes) for w in _WIDTHS)):
        value = config.get(name)
        if value is not None and not (isinstance(value, int) and 0 < value <= most):
            raise ValueError(
                f"config.json says that {name} is {str(value)[:40]}, which the {num_tensors} tensors "
                f"of {num_bytes} bytes beside it cannot be"
            )
