"""Drafters that come with the program, found by the target's hash."""

import json
from functools import cache
from pathlib import Path
from typing import Literal

_WEIGHTS = Path(__file__).with_name("weights")
_DESCRIPTIONS = {"eagle": "config.json", "block": "config.json", "draft": "training.json"}

Sort = Literal["eagle", "block", "draft"]


@cache
def shipped_folder(target_key: str, sort: Sort) -> Path | None:
    """The folder of a target's EAGLE head, block drafter or small draft model; None where none is
    shipped.

    `target_key` is that of `core.loading.fingerprint.source_key`.
    """
    for path in sorted(_WEIGHTS.glob(f"*/{sort}/{_DESCRIPTIONS[sort]}")):
        if json.loads(path.read_text(encoding="utf-8")).get("target_sha256") == target_key:
            return path.parent
    return None
