"""Makes the drafter of a run from its configuration. A new mode is one entry here."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from core.config import SELF, SHIPPED_HEAD
from core.drafter_settings import (
    MODES,
    DrafterSettings,
    HybridSettings,
    NgramSettings,
    ShareSdSettings,
    TreeSettings,
)
from core.drafters.base import Drafter, ModelDrafter
from core.drafters.classic import make_classic
from core.drafters.eagle import make_eagle
from core.drafters.hybrid import HybridDrafter
from core.drafters.layer_skip import make_layer_skip
from core.drafters.ngram import NgramDrafter
from core.drafters.share_sd import make_share_sd
from core.drafters.workshop import Workshop
from core.errors import InvalidSettingError
from core.lean.weights import unsupported_module
from core.models.loading import LoadedModel
from core.models.shipped import shipped_folder


class _Mode(NamedTuple):
    make: Callable[[Workshop], Drafter] | None
    """None for plain decoding."""
    needs_lean: bool = False
    """Whether it drafts with layers of the target that only the lean forward can exchange."""


def _make_ngram(workshop: Workshop) -> Drafter:
    settings = workshop.config.drafter
    assert isinstance(settings, NgramSettings)
    return NgramDrafter(settings, is_greedy=workshop.config.sampling.is_greedy)


def _make_hybrid(workshop: Workshop) -> Drafter:
    settings = workshop.config.drafter
    assert isinstance(settings, HybridSettings)
    lookup = NgramDrafter(
        NgramSettings(
            num_nodes=settings.num_nodes,
            min_match=settings.min_match,
            fixed_size=settings.fixed_size,
        ),
        is_greedy=workshop.config.sampling.is_greedy,
    )
    return HybridDrafter(lookup, _make_hybrid_model(workshop))


def _make_hybrid_model(workshop: Workshop) -> ModelDrafter:
    name = _hybrid_draft(workshop.config.draft, workshop.target.source_key)
    if name == SELF:
        return make_share_sd(workshop)
    _check_unquantized(workshop.config.drafter, name)
    return make_eagle(workshop) if name == SHIPPED_HEAD else make_classic(workshop)


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


_MODES = {
    "naive": _Mode(None),
    "ngram": _Mode(_make_ngram),
    "sd-classic": _Mode(make_classic),
    "sd-eagle": _Mode(make_eagle, needs_lean=True),
    "share-sd": _Mode(make_share_sd, needs_lean=True),
    "layer-skip": _Mode(make_layer_skip, needs_lean=True),
    "hybrid": _Mode(_make_hybrid),
}


def make_drafter(workshop: Workshop) -> Drafter | None:
    """The drafter for a checked configuration; None for plain decoding."""
    make = _MODES[workshop.config.mode].make
    return None if make is None else make(workshop)


def unavailable_reason(
    mode: str, draft: str | None, target: LoadedModel, *, is_lean: bool
) -> str | None:
    """Why a mode cannot run with a target, in one sentence; None where it can.

    `draft` is the named draft model, and `is_lean` whether the lean forward computes the target.
    """
    if mode not in MODES:
        return f"mode is {mode!r}; give one of {', '.join(MODES)}."
    is_hybrid = mode == "hybrid"
    if not is_lean and (
        _MODES[mode].needs_lean or (is_hybrid and draft in (None, SELF, SHIPPED_HEAD))
    ):
        return (
            f"mode {mode} drafts with the target's own layers, which the lean forward must compute, "
            f"and it cannot ({_why_not_lean(target)}); give another target or mode."
        )
    if target.weights != "full" and (
        mode == "share-sd" or (is_hybrid and _hybrid_draft(draft, target.source_key) == SELF)
    ):
        return (
            f"mode {mode} drafts with the target's weights quantized, and this target is loaded with "
            f"weights {target.weights}; give weights full or another mode."
        )
    return None


def _why_not_lean(target: LoadedModel) -> str:
    if target.split is not None:
        return "it is split over several processes"
    if target.is_spread:
        return "it is spread over several GPUs"
    return str(unsupported_module(target.module))
