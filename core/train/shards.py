"""Conversations on disk: safetensors shards and a manifest that says what they are."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from core.errors import InvalidSettingError
from core.runtime.strict_json import dumps
from core.runtime.written_files import save_tensors

MANIFEST_NAME = "manifest.json"


class Conversation(NamedTuple):
    """Token ids of a chat, template included, and which of them the target wrote as answers."""

    token_ids: NDArray[np.int32]  # [length]
    loss_mask: NDArray[np.bool_]  # [length]
    temperature: float
    is_held_out: bool


class Conversations(NamedTuple):
    """Many conversations end to end."""

    token_ids: torch.Tensor  # [num_tokens] int32
    loss_mask: torch.Tensor  # [num_tokens] bool
    offsets: torch.Tensor  # [count + 1] int64
    temperatures: torch.Tensor  # [count] float32
    is_held_out: torch.Tensor  # [count] bool


def shard_path(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:05d}.safetensors"


def write_shard(path: Path, conversations: list[Conversation]) -> None:
    """Writes a shard whole or not at all."""
    lengths = torch.tensor([0, *(len(item.token_ids) for item in conversations)])
    tensors = {
        "token_ids": _joined([item.token_ids for item in conversations], torch.int32),
        "loss_mask": _joined([item.loss_mask for item in conversations], torch.bool),
        "offsets": lengths.cumsum(0),
        "temperatures": torch.tensor([item.temperature for item in conversations]).float(),
        "is_held_out": torch.tensor([item.is_held_out for item in conversations]).bool(),
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_tensors(tensors, temporary)
    temporary.replace(path)


def _joined(parts: list[Any], dtype: torch.dtype) -> torch.Tensor:
    if not parts:
        return torch.zeros(0, dtype=dtype)
    return torch.from_numpy(np.concatenate(parts)).to(dtype)


def read_shards(folder: Path) -> Conversations:
    """All shards of a folder, in order; raises InvalidSettingError where there are none."""
    paths = sorted(folder.glob("shard-*.safetensors"))
    if not paths:
        raise InvalidSettingError(
            f"{folder} has no shards; give a folder that core.train.generate_data wrote."
        )
    parts = [load_file(path) for path in paths]
    offsets, num_tokens = [torch.zeros(1, dtype=torch.int64)], 0
    for part in parts:
        offsets.append(part["offsets"][1:] + num_tokens)
        num_tokens += len(part["token_ids"])
    return Conversations(
        torch.cat([part["token_ids"] for part in parts]),
        torch.cat([part["loss_mask"] for part in parts]),
        torch.cat(offsets),
        torch.cat([part["temperatures"] for part in parts]),
        torch.cat([part["is_held_out"] for part in parts]),
    )


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Writes the manifest whole or not at all."""
    temporary = folder / f"{MANIFEST_NAME}.{os.getpid()}.part"
    temporary.write_text(dumps(values, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST_NAME)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest; None where there is none.

    Raises InvalidSettingError for a broken one.
    """
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidSettingError(
            f"{path} is broken ({error}); give another folder, or delete this one."
        ) from error
    return values
