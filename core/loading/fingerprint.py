"""Short keys for loaded models, under which what was made from them is kept and found."""

from core.loading.loading import LoadedModel


def model_key(model: LoadedModel) -> str:
    """Changes with what the model computes: its source, and how its weights are packed."""
    packing = "" if model.weights == "full" else f"{model.weights}:"
    return packing + model.source_key
