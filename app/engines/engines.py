"""Loads real engines. Torch is imported on the first load, so that the page comes up at once."""

from functools import cache

from app.engines.engine_slot import EngineKey, EngineLike, Progress
from core.attached.engine import AttachedEngine
from core.runtime.imports import quick_imports


@cache
def _num_cores() -> int:
    import torch

    return int(torch.get_num_threads())  # before anything here lowered it


def attach_engine(key: EngineKey, progress: Progress) -> EngineLike:
    """The server that a target is the address of; raises SpecDecodesError with one sentence."""
    progress("asking the server", 0, 0)
    return AttachedEngine(key.target)


def load_engine(
    key: EngineKey, progress: Progress, num_engines: int = 1, tensor_parallel: int = 1
) -> EngineLike:
    """The engine of a target on the best device; raises SpecDecodesError with one sentence.

    `num_engines` share this machine's cores with the page; 0 says that the page is elsewhere. So many
    GPUs share out each layer as `tensor_parallel` says.
    """
    progress("starting the engine", 0, 0)
    with quick_imports():
        import torch

        from core.engine import Engine
        from core.loading.loading import load_model, placing

    # A core stays for the server and the browser: a forward waits for its slowest thread, and on two
    # cores a page that draws beside two threads makes both slower than one alone.
    if num_engines:
        torch.set_num_threads(max(1, (_num_cores() - 1) // num_engines))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    target = load_model(
        key.target,
        dtype=key.dtype,
        device=device,
        weights=key.weights,
        compile=key.compile,
        placement=placing(tensor_parallel),
        progress=progress,
    )
    return Engine(target, progress=progress)
