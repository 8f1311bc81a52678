"""Small results on disk under the hash of what they belong to; measured or searched once."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from core.errors import StorageError
from core.runtime.scratch import places, writable
from core.runtime.strict_json import dumps


def _path(folder: Path, key: str) -> Path:
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"


def load_json(folder: Path, key: str) -> Any:
    """What was saved; None where there is nothing, or nothing that can be read."""
    for path in places(_path(folder, key)):
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None


def save_json(folder: Path, key: str, values: dict[str, Any]) -> None:
    """Writes under a temporary name and renames; a disk that refuses is done without."""
    try:
        path = writable(_path(folder, key))
    except StorageError:
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(dumps(values), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
