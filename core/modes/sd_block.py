"""sd-block: a small network drafts a block of tokens in one pass."""

from dataclasses import dataclass

from core.modes.registry import Mode, register
from core.modes.settings import TreeSettings


@dataclass(frozen=True, kw_only=True)
class BlockSettings(TreeSettings):
    """A small network drafts a block in one pass from the target's states (DFlash, 2026)."""


register(
    Mode(
        "sd-block",
        "head",
        BlockSettings,
        "core.drafters.block:make_block",
        takes_draft=True,
        needs_own_forward=True,
    )
)
