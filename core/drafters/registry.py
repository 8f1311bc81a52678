"""Makes the drafter of a run from its configuration. A new mode is one entry here."""

from collections.abc import Callable
from typing import NamedTuple

from core.config import HybridSettings, NgramSettings
from core.drafters.base import Drafter, ModelDrafter
from core.drafters.classic import make_classic
from core.drafters.eagle import SHIPPED_HEAD, make_eagle
from core.drafters.hybrid import HybridDrafter
from core.drafters.layer_skip import make_layer_skip
from core.drafters.ngram import NgramDrafter
from core.drafters.share_sd import make_share_sd
from core.drafters.workshop import Workshop


class _Mode(NamedTuple):
    make: Callable[[Workshop], Drafter] | None
    """None for plain decoding."""
    needs_lean: bool = False
    """Whether it drafts with layers of the target that only the lean forward can exchange."""


def _make_ngram(workshop: Workshop) -> Drafter:
    settings = workshop.config.drafter
    assert isinstance(settings, NgramSettings)
    return NgramDrafter(settings)


def _make_hybrid(workshop: Workshop) -> Drafter:
    settings = workshop.config.drafter
    assert isinstance(settings, HybridSettings)
    lookup = NgramDrafter(
        NgramSettings(
            num_nodes=settings.num_nodes,
            min_match=settings.min_match,
            fixed_size=settings.fixed_size,
        )
    )
    return HybridDrafter(lookup, _make_hybrid_model(workshop))


def _make_hybrid_model(workshop: Workshop) -> ModelDrafter:
    name = workshop.config.draft
    if name is None:
        return make_share_sd(workshop)
    return make_eagle(workshop) if name == SHIPPED_HEAD else make_classic(workshop)


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


def needs_lean_forward(mode: str, draft: str | None) -> bool:
    """Whether a mode works with the lean forward alone; `draft` is the named draft model."""
    return _MODES[mode].needs_lean or (mode == "hybrid" and draft in (None, SHIPPED_HEAD))
