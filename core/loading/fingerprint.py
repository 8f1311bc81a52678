"""Short keys for loaded models, under which what was made from them is kept and found."""

from core.loading.loading import LoadedModel


def model_key(model: LoadedModel) -> str:
    """Changes with what the model computes: its source, and how its weights are packed."""
    packing = f"{model.weights}:" if model.is_packed else ""
    return packing + model.source_key
