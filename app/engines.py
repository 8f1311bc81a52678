"""Loads real engines. Torch is imported on the first load, so that the page comes up at once."""

from app.model_pool import EngineKey, EngineLike, Progress


def load_engine(key: EngineKey, progress: Progress) -> EngineLike:
    """The engine of a target on the best device; raises SpecDecodesError with one sentence."""
    progress("starting the engine", 0, 0)
    import torch

    from core.engine import Engine
    from core.models.loading import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Engine(load_model(key.target, dtype=key.dtype, device=device, progress=progress))
