"""Makes the drafter of mode hybrid: the lookup, and the model that drafts beside it."""

import dataclasses
from collections.abc import Callable

from core.drafters.base import ModelDrafter
from core.drafters.block import make_block
from core.drafters.classic import make_classic
from core.drafters.context import DrafterContext
from core.drafters.eagle import make_eagle
from core.drafters.hybrid import HybridDrafter, lookup_settings
from core.drafters.ngram import NgramDrafter
from core.drafters.share_sd import make_share_sd, reason_against_quantizing
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel
from core.models.shipped import shipped_folder
from core.modes.hybrid import HybridSettings
from core.modes.settings import (
    SELF,
    SHIPPED_BLOCK,
    SHIPPED_HEAD,
    DrafterSettings,
    TreeSettings,
)
from core.modes.share_sd import ShareSdSettings

# What reads the target's states, by the name of what is shipped.
_SHIPPED: dict[str, Callable[[DrafterContext], ModelDrafter]] = {
    SHIPPED_HEAD: make_eagle,
    SHIPPED_BLOCK: make_block,
}


def make_hybrid(context: DrafterContext) -> HybridDrafter:
    """The drafter for a run; raises as the maker of its model does."""
    settings = context.config.drafter
    assert isinstance(settings, HybridSettings)
    lookup = NgramDrafter(
        lookup_settings(settings, can_branch=context.runner.can_branch),
        is_greedy=context.config.sampling.is_greedy,
        memory=context.memory,
    )
    return HybridDrafter(lookup, _make_hybrid_model(context))


def _make_hybrid_model(context: DrafterContext) -> ModelDrafter:
    name = _hybrid_draft(context.config.draft, context.target.source_key)
    if name == SELF:
        return make_share_sd(context)
    _check_unquantized(context.config.drafter, name)
    return _SHIPPED.get(name, make_classic)(context)


def _check_unquantized(settings: DrafterSettings | None, name: str) -> None:
    """Raises InvalidSettingError for a setting that only the quantized self would heed."""
    for item in dataclasses.fields(ShareSdSettings):
        is_own = item.name not in {common.name for common in dataclasses.fields(TreeSettings)}
        if is_own and getattr(settings, item.name) != item.default:
            raise InvalidSettingError(
                f"{item.name} is a setting of the quantized self and {name} drafts; give draft "
                f"{SELF}, or leave {item.name} out."
            )


def _hybrid_draft(name: str | None, target_key: str) -> str:
    """The model that drafts beside the lookup: unset is the shipped head, else the quantized self."""
    if name is not None:
        return name
    return SELF if shipped_folder(target_key, "eagle") is None else SHIPPED_HEAD


def reason_against(draft: str | None, target: LoadedModel) -> str | None:
    """See `core.modes.registry.Mode`: as the mode of the model that drafts beside the lookup."""
    name = _hybrid_draft(draft, target.source_key)
    return reason_against_quantizing("hybrid", target) if name == SELF else None
