"""Makes the drafter of mode hybrid: the lookup, and the models that draft beside it."""

import dataclasses

from core.drafters.base import ModelDrafter
from core.drafters.context import DrafterContext
from core.drafters.hybrid import HybridDrafter, lookup_settings
from core.drafters.ngram import NgramDrafter
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel
from core.models.shipped import shipped_folder
from core.modes.hybrid import HybridSettings, Part, parts_of
from core.modes.registry import modes, resolved
from core.modes.settings import SELF, SHIPPED_HEAD, TreeSettings
from core.modes.share_sd import ShareSdSettings


def make_hybrid(context: DrafterContext) -> HybridDrafter:
    """The drafter for a run; raises as the makers of its models do."""
    settings = context.config.drafter
    assert isinstance(settings, HybridSettings)
    lookup = NgramDrafter(
        lookup_settings(settings, can_branch=context.runner.can_branch),
        is_greedy=context.config.sampling.is_greedy,
        memory=context.memory,
    )
    parts = _parts(context.config.draft, context.target)
    _check_unquantized(settings, parts)
    return HybridDrafter(lookup, [_make_model(context, part) for part in parts])


def _parts(draft: str | None, target: LoadedModel) -> tuple[Part, ...]:
    """The models beside the lookup: unset is the shipped head, else the quantized self."""
    if draft is None:
        has_head = shipped_folder(target.source_key, SHIPPED_HEAD) is not None
        draft = SHIPPED_HEAD if has_head else SELF
    return parts_of(draft)


def _make_model(context: DrafterContext, part: Part) -> ModelDrafter:
    factory = resolved(modes()[part.mode].factory)
    assert factory is not None, "only plain decoding has none"
    config = dataclasses.replace(context.config, draft=part.draft)
    model: ModelDrafter = factory(dataclasses.replace(context, config=config))
    return model


def _check_unquantized(settings: HybridSettings, parts: tuple[Part, ...]) -> None:
    """Raises InvalidSettingError for a setting that only the quantized self would heed."""
    if any(part.mode == "share-sd" for part in parts):
        return
    common = {item.name for item in dataclasses.fields(TreeSettings)}
    for item in dataclasses.fields(ShareSdSettings):
        if item.name not in common and getattr(settings, item.name) != item.default:
            drafting = ", ".join(part.mode for part in parts)
            raise InvalidSettingError(
                f"{item.name} is a setting of the quantized self and {drafting} drafts; give draft "
                f"{SELF}, or leave {item.name} out."
            )


def reason_against(draft: str | None, target: LoadedModel) -> str | None:
    """See `core.modes.registry.Mode`: as the modes of the models that draft beside the lookup."""
    for part in _parts(draft, target):
        check = resolved(modes()[part.mode].reason_against)
        reason: str | None = None if check is None else check(part.draft, target)
        if reason is not None:
            return reason
    return None
