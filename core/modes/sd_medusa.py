"""sd-medusa: heads that each say a token further ahead draft."""

from dataclasses import dataclass

from core.modes.registry import Mode, register
from core.modes.settings import TreeSettings


@dataclass(frozen=True, kw_only=True)
class MedusaSettings(TreeSettings):
    """Heads on the target's last state, one a token ahead (Medusa, Hydra, 2024)."""


register(
    Mode(
        "sd-medusa",
        "head",
        MedusaSettings,
        "core.drafters.medusa:make_medusa",
        takes_draft=True,
        needs_own_forward=True,
    )
)
