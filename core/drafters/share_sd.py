"""Share-SD: the target's own hqq-quantized self drafts on the target's KV cache."""

from typing import Any

from core.config import RunConfig
from core.drafter_settings import ShareSdSettings
from core.drafters.self_draft import SelfDrafter
from core.drafters.workshop import Workshop
from core.lean.forward import LeanForward
from core.lean.weights import LayerStack
from core.models.fingerprint import model_key
from core.quant.offload import OriginalWeights
from core.quant.stack import quantized_stack
from core.quant.store import GridStore

_UNQUANTIZED = 16
_COPY = "quantized copy"


def make_share_sd(workshop: Workshop) -> SelfDrafter:
    """The drafter for a run; quantizes the target where that was not done before.

    Raises InvalidSettingError for unknown layer names and group sizes that do not divide.
    """
    settings = workshop.config.drafter
    assert isinstance(settings, ShareSdSettings)
    target_forward, originals = workshop.verifier.forward, workshop.originals
    assert isinstance(target_forward, LeanForward), "unavailable_reason comes first"
    assert originals is not None, "the lean forward has them"
    stack = _drafting_stack(workshop, settings, target_forward, originals)
    if settings.offload:
        originals.to_disk()
    forward = target_forward.with_stack(stack)
    words = ("share-sd", str(settings.bits), str(settings.group_size), *settings.keep)
    return SelfDrafter(
        name="share-sd",
        identity=_identity(workshop, settings, forward),
        verifier=workshop.verifier,
        forward=forward,
        settings=settings,
        proposer=workshop.proposer(),
        draft_cost=None
        if settings.fixed_size
        else workshop.measure_cost(workshop.verifier, forward, words),
    )


def _drafting_stack(
    workshop: Workshop,
    settings: ShareSdSettings,
    target_forward: LeanForward,
    originals: OriginalWeights,
) -> LayerStack:
    """The quantized stack of a run's settings, kept between runs; 16 bits are the original."""
    if settings.bits == _UNQUANTIZED:
        return target_forward.stack

    def make() -> LayerStack:
        originals.to_memory()
        key = model_key(workshop.target)
        store = GridStore(workshop.folder / "grids", key, settings.bits, settings.group_size)
        stack = quantized_stack(
            target_forward.stack,
            bits=settings.bits,
            group_size=settings.group_size,
            keep=settings.keep,
            # A GPU quantizes faster than a disk is read.
            grid_of=store.grid_of if workshop.target.device.type == "cpu" else None,
            progress=workshop.progress,
            kernels=workshop.target.kernels,
        )
        store.save()
        return stack

    key = (settings.bits, settings.group_size, settings.keep)
    return workshop.kept.get(_COPY, key, make)


def wants_offload(config: RunConfig) -> bool:
    """Whether a run keeps the original weights on disk."""
    return isinstance(config.drafter, ShareSdSettings) and config.drafter.offload


def _place_of_originals(config: RunConfig, settings: ShareSdSettings) -> str:
    if settings.offload:
        return "disk"
    return "memory" if config.gpu_memory is None else "host memory, streamed"


def _identity(
    workshop: Workshop, settings: ShareSdSettings, forward: LeanForward
) -> dict[str, Any]:
    name = workshop.target.identity.name
    if settings.bits != _UNQUANTIZED:
        name += f" in {settings.bits} bits, groups of {settings.group_size}"
    return {
        "name": name,
        "method": "share-sd",
        "kernel": ", ".join(forward.kernel_names),
        "num_bytes": forward.stack.num_bytes,
        "originals": _place_of_originals(workshop.config, settings),
    }
