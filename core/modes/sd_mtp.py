"""sd-mtp: the target's own layer for multi-token prediction drafts."""

from dataclasses import dataclass

from core.modes.registry import Mode, register
from core.modes.settings import TreeSettings


@dataclass(frozen=True, kw_only=True)
class MtpSettings(TreeSettings):
    """The layer for multi-token prediction of the target's checkpoint (DeepSeek-V3, 2024)."""


register(
    Mode(
        "sd-mtp",
        "head",
        MtpSettings,
        "core.drafters.mtp:make_mtp",
        takes_draft=True,
        needs_own_forward=True,
    )
)
