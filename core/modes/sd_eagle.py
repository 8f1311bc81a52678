"""sd-eagle: a head on the target's hidden states drafts."""

from dataclasses import dataclass

from core.modes.registry import Mode, register
from core.modes.settings import TreeSettings


@dataclass(frozen=True, kw_only=True)
class EagleSettings(TreeSettings):
    """A head on the target's hidden states drafts (EAGLE-3, Li et al. 2025)."""


register(
    Mode(
        "sd-eagle",
        "head",
        EagleSettings,
        "core.drafters.eagle:make_eagle",
        takes_draft=True,
        needs_own_forward=True,
    )
)
