"""Files of a GGUF model: one, or shards that name each other by number."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.models.weight_files import listed

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)


def shards_of(path: Path) -> list[Path]:
    """All files of the model of which a file is one, the first one first.

    Raises ValueError that names the missing ones.
    """
    found = _SHARD.search(path.name)
    if found is None:
        return [path]
    count = int(found[2])
    shards = [
        path.with_name(f"{path.name[: found.start()]}-{number:05d}-of-{found[2]}{path.suffix}")
        for number in range(1, count + 1)
    ]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ValueError(f"of its {count} shards {listed(missing)} is not there")
    return shards


def whole_name(name: str) -> str:
    """The name that all shards of a model share."""
    return _SHARD.sub("", name)


def check_shard(metadata: Mapping[str, Any], number: int, count: int) -> None:
    """Raises ValueError where a file is not the shard of this number, from 0, that its name says."""
    told_count = metadata.get("split.count", 1) or 1
    told_number = metadata.get("split.no", 0)
    if told_count != count or (count > 1 and told_number != number):
        raise ValueError(
            f"it is shard {told_number + 1} of {told_count}, and by its name {number + 1} of {count}; "
            "shards are found by names that end in -00001-of-00003.gguf"
        )
