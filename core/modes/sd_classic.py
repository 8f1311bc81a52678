"""sd-classic: a smaller model drafts."""

from dataclasses import dataclass

from core.modes.registry import Mode, register
from core.modes.settings import TreeSettings


@dataclass(frozen=True, kw_only=True)
class ClassicSettings(TreeSettings):
    """A smaller model drafts (Leviathan et al. 2023)."""


register(
    Mode(
        "sd-classic",
        "draft model",
        ClassicSettings,
        "core.drafters.classic:make_classic",
        takes_draft=True,
    )
)
