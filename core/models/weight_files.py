"""Which files of a folder hold its weights, and under which names: as transformers chooses them."""

import json
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from core.errors import ModelUnavailableError, shown

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# What torch.compile and wrappers of modules put into the names of weights; one may hold another.
_WRAPPERS = (
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.",
    r"^(module\.)+",
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_MOST_NAMED = 3


def weight_files(name: str, folder: Path) -> list[Path]:
    """The safetensors files of a model in a folder; `name` is what the user calls it.

    Raises ModelUnavailableError that says what is missing.
    """
    try:
        present = {path.name for path in folder.iterdir() if path.is_file()}
        chosen = chosen_names(present, lambda file: read_json_object(folder / file))
    except (OSError, ValueError) as error:
        raise ModelUnavailableError(
            f"{name} cannot be loaded: {error}; give a whole folder in transformers' format with "
            "weights as safetensors."
        ) from error
    return [folder / file for file in chosen]


def chosen_names(
    present: Collection[str], read_object: Callable[[str], dict[str, Any]]
) -> list[str]:
    """The files among those present that hold the weights; `read_object` reads one that is JSON.

    They are what the configuration names, else model.safetensors, else what the index names. Raises
    ValueError with a reason where one is missing, and what `read_object` raises.
    """
    first = read_object(CONFIG).get("transformers_weights") if CONFIG in present else None
    if first is None:
        first = SINGLE if SINGLE in present else INDEX
        if first not in present:
            raise ValueError(_why_none(present))
    _check_names([first], present, CONFIG)
    if not first.endswith(".json"):
        return [first]
    weight_map = read_object(first).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{first} has no weight_map")
    _check_names(weight_map.values(), present, first)
    return sorted(set(weight_map.values()))


def plain_name(name: str) -> str:
    """A weight's name without what wrappers of its module put into it."""
    for pattern in _WRAPPERS:
        name = re.sub(pattern, "", name)
    return name


def key_mapping() -> dict[str, str]:
    """`plain_name` as transformers takes it: patterns and what comes in their place."""
    return dict.fromkeys(_WRAPPERS, "")


def read_json_object(path: Path) -> dict[str, Any]:
    """Raises ValueError with a reason where the file holds none, and OSError as the system does."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path.name} is broken ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} is no object")
    return values


def listed(names: Iterable[str]) -> str:
    """Some names in words: the first few, and how many there are."""
    names = sorted(names)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _check_names(names: Iterable[Any], present: Collection[str], told_by: str) -> None:
    wanted = set()
    for name in names:
        # A path would lead out of the folder.
        if not isinstance(name, str) or not name.endswith((".safetensors", ".index.json")):
            raise ValueError(f"{told_by} names {shown(name)}, which is no safetensors file")
        wanted.add(name)
    missing = wanted - set(present)
    if missing:
        raise ValueError(
            f"{told_by} names {len(wanted)} files of weights, and {listed(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there"
        )


def _why_none(present: Collection[str]) -> str:
    others = [name for name in present if name.endswith(".safetensors")]
    pickles = [name for name in present if name.endswith(_PICKLES)]
    if others:
        return f"it holds {listed(others)} and neither {SINGLE} nor {INDEX}, which say what to read"
    if pickles:
        return f"its weights are in {listed(pickles)}, a format that can run code and is not read"
    return f"there are no safetensors files, neither {SINGLE} nor {INDEX}"
