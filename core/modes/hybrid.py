"""hybrid: lookup where it has a match that pays, else a model, or of several the one that pays most."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from core.errors import InvalidSettingError, shown
from core.modes.registry import Mode, modes, register
from core.modes.settings import MEMORY_HELP, SELF, SHIPPED_BLOCK, SHIPPED_HEAD, TreeSettings
from core.modes.share_sd import ShareSdSettings
from core.settings import setting

# Modes that can draft beside the lookup: all their settings are hybrid's as well.
PART_MODES = ("sd-classic", "sd-eagle", "sd-block", "sd-medusa", "sd-mtp", "share-sd")
_SHORT = {SHIPPED_HEAD: "sd-eagle", SHIPPED_BLOCK: "sd-block", SELF: "share-sd"}


class Part(NamedTuple):
    """A model that drafts beside the lookup."""

    mode: str
    draft: str | None
    """As `--draft` of that mode names it."""


def parts_of(draft: str) -> tuple[Part, ...]:
    """The models that `--draft` of a hybrid names, with a plus between.

    Each is `eagle`, `block` or `self`, a mode alone or with the name that it takes (`sd-mtp`,
    `sd-medusa=FOLDER`), or a smaller model as sd-classic takes it. Raises InvalidSettingError for an
    empty name, and for one that is given twice.
    """
    found = tuple(_part(name.strip()) for name in draft.split("+"))
    for part in found:
        if part.draft == "" or found.count(part) > 1:
            raise InvalidSettingError(
                f"draft is {shown(draft)}; give models with a plus between, each once: {SHIPPED_HEAD}, "
                f"{SHIPPED_BLOCK}, {SELF}, a mode such as sd-mtp or sd-medusa=FOLDER, or a model."
            )
    return found


def _part(name: str) -> Part:
    mode, has_name, own = name.partition("=")
    if mode in PART_MODES:
        return Part(mode, own.strip() if has_name else None)
    if name in _SHORT:
        return Part(_SHORT[name], None)
    return Part("sd-classic", name)


def _needs_own_forward(draft: str | None) -> bool:
    """Of a target: as any of the modes. Without a name the head or the self drafts."""
    return draft is None or any(modes()[mode].needs_own(name) for mode, name in parts_of(draft))


@dataclass(frozen=True, kw_only=True)
class HybridSettings(ShareSdSettings):
    """Suffix lookup where it has a match that pays, else an EAGLE head or other models."""

    min_match: int = setting(2, "shortest repeated context in tokens that drafts", low=1, high=64)
    memory: bool = setting(False, MEMORY_HELP)

    @classmethod
    def unheeded(cls, draft: str) -> frozenset[str]:
        """See `DrafterSettings.unheeded`: only the quantized self heeds what is said of its weights."""
        if any(part.mode == "share-sd" for part in parts_of(draft)):
            return frozenset()
        common = {item.name for item in fields(TreeSettings)}
        return frozenset(item.name for item in fields(ShareSdSettings)) - common

    def check_run(self, run: Any) -> None:
        """See `DrafterSettings.check_run`."""
        super().check_run(run)
        if run.draft is not None:
            parts_of(run.draft)


register(
    Mode(
        "hybrid",
        "combined",
        HybridSettings,
        "core.drafters.hybrid_making:make_hybrid",
        takes_draft=True,
        needs_own_forward=_needs_own_forward,
        reason_against="core.drafters.hybrid_making:reason_against",
    )
)
