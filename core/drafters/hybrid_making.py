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
from core.modes.settings import SELF, SHIPPED_HEAD


def make_hybrid(context: DrafterContext) -> HybridDrafter:
    """The drafter for a run; raises as the makers of its models do."""
    settings = context.config.drafter
    assert isinstance(settings, HybridSettings)
    lookup = NgramDrafter(
        lookup_settings(settings, can_branch=context.runner.can_branch),
        is_greedy=context.config.sampling.is_greedy,
        memory=context.memory,
    )
    draft = _draft_of(context.config.draft, context.target)
    _check_unquantized(settings, draft)
    return HybridDrafter(lookup, [_make_model(context, part) for part in parts_of(draft)])


def _draft_of(draft: str | None, target: LoadedModel) -> str:
    """Which models draft beside the lookup: unset is the shipped head, else the quantized self."""
    if draft is not None:
        return draft
    has_head = shipped_folder(target.source_key, SHIPPED_HEAD) is not None
    return SHIPPED_HEAD if has_head else SELF


def _make_model(context: DrafterContext, part: Part) -> ModelDrafter:
    factory = resolved(modes()[part.mode].factory)
    assert factory is not None, "only plain decoding has none"
    config = dataclasses.replace(context.config, draft=part.draft)
    model: ModelDrafter = factory(dataclasses.replace(context, config=config))
    return model


def _check_unquantized(settings: HybridSettings, draft: str) -> None:
    """Raises InvalidSettingError for a setting that only the quantized self would heed."""
    usual = {item.name: item.default for item in dataclasses.fields(settings)}
    for name in sorted(settings.unheeded(draft)):
        if getattr(settings, name) != usual[name]:
            drafting = ", ".join(part.mode for part in parts_of(draft))
            raise InvalidSettingError(
                f"{name} is a setting of the quantized self and {drafting} drafts; give draft "
                f"{SELF}, or leave {name} out."
            )


def reason_against(draft: str | None, target: LoadedModel) -> str | None:
    """See `core.modes.registry.Mode`: as the modes of the models that draft beside the lookup."""
    for part in parts_of(_draft_of(draft, target)):
        reason = modes()[part.mode].refusal(part.draft, target)
        if reason is not None:
            return reason
    return None
