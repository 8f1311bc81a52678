"""Which models of this machine can draft for a target: smaller ones that write the same tokens."""

from typing import NamedTuple

from core.errors import SpecDecodesError
from core.loading.tokenizer_match import tokenizer_difference
from core.models.here import ModelHere, models_here, neighbours
from core.models.shipped import shipped_folder
from core.models.size import model_size
from core.models.sources import find_model
from core.models.tokenizer import read_tokenizer
from core.runtime.storage import no_progress


class FittingDraft(NamedTuple):
    """A draft model for `sd-classic`."""

    name: str
    """As `--draft` takes it; empty for the one that is shipped and taken without a name."""
    num_parameters: int


def fitting_drafts(target: str) -> list[FittingDraft]:
    """For a target whose files are here, the smallest first.

    Raises ModelUnavailableError for a target that cannot be read.
    """
    here = {model.name: model for model in models_here()}
    source = find_model(str(here[target].path) if target in here else target, no_progress)
    shipped = shipped_folder(source.sha256, "draft") if source.sha256 else None
    found = [FittingDraft("", model_size(str(shipped)).num_parameters)] if shipped else []
    size = here[target].num_parameters if target in here else model_size(target).num_parameters
    smaller = [
        model
        for model in [*here.values(), *neighbours(target)]
        if model.num_parameters < size and model.name != target
    ]
    tokenizer = read_tokenizer(source) if smaller else None
    found += [
        FittingDraft(model.name, model.num_parameters)
        for model in smaller
        if _writes_the_same(tokenizer, model)
    ]
    return sorted(found, key=lambda draft: draft.num_parameters)


def _writes_the_same(tokenizer: object, model: ModelHere) -> bool:
    try:
        other = read_tokenizer(find_model(str(model.path), no_progress))
    except SpecDecodesError:  # a draft that cannot be read is none to suggest
        return False
    return tokenizer_difference(tokenizer, other) is None
