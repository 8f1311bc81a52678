"""Whether the weights in a folder can be what its configuration says.

A module is built from the configuration before any weight is read, so that one of a billion layers
would keep the program busy for ever.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from core.errors import ModelUnavailableError, reason_of, shown
from core.families.description import has_packed_experts
from core.models.weight_files import CONFIG, listed, plain_name, read_json_object, weight_files

_WIDTHS = (
    "vocab_size", "hidden_size", "intermediate_size", "head_dim", "num_attention_heads",
    "num_key_value_heads",
)  # fmt: skip
# Holds the tokens that end an answer.
_GENERATION = "generation_config.json"
# As safetensors names them. Others are packed, and mean nothing without what unpacks them.
_NUMBERS = ("F64", "F32", "F16", "BF16")
_BYTES = "U8"
# Buffers of old files that are computed anew.
COMPUTED_ANEW = "rotary_emb.inv_freq"


class _Contents(NamedTuple):
    names: list[str]
    dtypes: set[str]
    num_bytes: int


def check_folder(name: str, folder: Path) -> None:
    """Raises ModelUnavailableError where the folder cannot be a whole model of weights as they are;
    `name` is what the user calls it."""
    files = weight_files(name, folder)
    try:
        config = read_json_object(folder / CONFIG)
        _check_generation(folder / _GENERATION)
        contents = _contents(files)
        _check_numbers(config, contents)
        for part in (config, config.get("text_config")):
            if isinstance(part, dict):
                _check_sizes(part, len(contents.names), contents.num_bytes)
    except (OSError, ValueError, SafetensorError) as error:
        reason = reason_of(error)
        raise ModelUnavailableError(
            f"{name} cannot be loaded ({reason}); give a causal language model in transformers' "
            "format whose files are whole."
        ) from error


def _check_generation(path: Path) -> None:
    """Raises ValueError for a file that transformers would go on without."""
    try:
        if path.exists():
            json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is broken ({error})") from None


def _contents(files: list[Path]) -> _Contents:
    names: list[str] = []
    dtypes: set[str] = set()
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                names.append(plain_name(name))
                dtypes.add(file.get_slice(name).get_dtype())
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ValueError(f"there are two weights named {listed(doubled)}")
    return _Contents(names, dtypes, sum(path.stat().st_size for path in files))


def _check_numbers(config: dict[str, Any], contents: _Contents) -> None:
    method = config.get("quantization_config")
    is_read = has_packed_experts(config)
    if method is not None and not is_read:
        method = method.get("quant_method") if isinstance(method, dict) else method
        raise ValueError(
            f"its weights are quantized by {shown(method)}, and only plain numbers and GGUF files "
            "are read"
        )
    others = contents.dtypes - set(_NUMBERS) - ({_BYTES} if is_read else set())
    if others:
        raise ValueError(
            f"it has weights of the type {listed(others)}, and only {', '.join(_NUMBERS)} are read"
        )


def _is_size(number: Any, most: int) -> bool:
    return isinstance(number, int) and 0 < number <= most


def _check_sizes(config: dict[str, Any], num_tensors: int, num_bytes: int) -> None:
    for name, most in (("num_hidden_layers", num_tensors), *((w, num_bytes) for w in _WIDTHS)):
        value = config.get(name)
        by_layer = value if isinstance(value, list) and name in _WIDTHS else [value]
        if value is not None and not all(_is_size(number, most) for number in by_layer):
            raise ValueError(
                f"config.json says that {name} is {shown(value)}, which the {num_tensors} tensors "
                f"of {num_bytes} bytes beside it cannot be"
            )
    # Kinds of models without one read it all the same, as they answer.
    window = config.get("sliding_window")
    if window is not None and type(window) is not int:
        raise ValueError(
            f"config.json says that sliding_window is {shown(window)}, which is no number of tokens"
        )
    heads, kv_heads = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(kv_heads, int) and heads % kv_heads:
        raise ValueError(
            f"config.json tells of {heads} heads that share {kv_heads} of keys and values, which "
            "does not come out even"
        )
