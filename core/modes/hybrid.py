"""hybrid: lookup where it has a match that pays, else a model."""

from dataclasses import dataclass

from core.modes.registry import Mode, register
from core.modes.settings import MEMORY_HELP, SELF, SHIPPED_BLOCK, SHIPPED_HEAD
from core.modes.share_sd import ShareSdSettings
from core.settings import setting


@dataclass(frozen=True, kw_only=True)
class HybridSettings(ShareSdSettings):
    """Suffix lookup where it has a match that pays, else an EAGLE head or another model."""

    min_match: int = setting(2, "shortest repeated context in tokens that drafts", low=1, high=64)
    memory: bool = setting(False, MEMORY_HELP)


register(
    Mode(
        "hybrid",
        "combined",
        HybridSettings,
        "core.drafters.hybrid_making:make_hybrid",
        takes_draft=True,
        needs_own_forward=lambda draft: draft in (None, SELF, SHIPPED_BLOCK, SHIPPED_HEAD),
        reason_against="core.drafters.hybrid_making:reason_against",
    )
)
