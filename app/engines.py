"""Loads real engines. Torch is imported on the first load, so that the page comes up at once."""

from typing import cast

from app.model_pool import EngineKey, EngineLike, Progress


def load_engine(key: EngineKey, progress: Progress) -> EngineLike:
    """The engine of a target on the best device; raises SpecDecodesError with one sentence."""
    progress("starting the engine", 0, 0)
    import torch

    from core.engine import Engine
    from core.models.loading import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    target = load_model(
        key.target,
        dtype=key.dtype,
        device=device,
        weights=key.weights,
        compile=key.compile,
        progress=progress,
    )
    # The pool hands an engine only prompts that the engine made itself.
    return cast(EngineLike, Engine(target, progress=progress))
