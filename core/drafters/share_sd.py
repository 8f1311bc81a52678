"""Share-SD: the target's own hqq-quantized self drafts on the target's KV cache."""

from typing import Any

from core.backends.torch.forward import TorchForward
from core.backends.torch.weights import LayerStack
from core.config import RunConfig
from core.drafters.context import DrafterContext
from core.drafters.self_draft import SelfDrafter, parts_reason
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.modes.share_sd import ShareSdSettings
from core.quant.offload import OriginalWeights
from core.quant.stack import quantized_stack
from core.quant.store import GridStore

_UNQUANTIZED = 16
# Of the head: in fewer its errors choose other tokens, which those of the layers seldom do.
_HEAD_BITS = 8
_COPY = "quantized copy"


def make_share_sd(context: DrafterContext) -> SelfDrafter:
    """The drafter for a run; quantizes the target where that was not done before.

    Raises InvalidSettingError for unknown layer names and group sizes that do not divide.
    """
    settings = context.config.drafter
    assert isinstance(settings, ShareSdSettings)
    target_forward, originals = context.runner.forward, context.originals
    assert isinstance(target_forward, TorchForward), "unavailable_reason comes first"
    assert originals is not None, "our own forward has them"
    stack = _drafting_stack(context, settings, target_forward, originals)
    if settings.offload:
        originals.to_disk()
    forward = target_forward.with_stack(stack)
    bits = f"{settings.bits}, head {_HEAD_BITS}"
    words = ("share-sd", bits, str(settings.group_size), *settings.keep)
    return SelfDrafter(
        name="share-sd",
        identity=_identity(context, settings, forward),
        runner=context.runner,
        forward=forward,
        grower=context.grower(
            context.proposer(), context.draft_cost(context.runner, forward, words)
        ),
    )


def reason_against(draft: str | None, target: LoadedModel) -> str | None:
    """See `core.modes.registry.Mode`."""
    if not target.is_packed:
        return parts_reason("share-sd", target)
    return (
        f"mode share-sd drafts with the target's weights quantized, and with weights {target.weights} "
        "this target's are whole numbers already; give weights full or another mode."
    )


def _drafting_stack(
    context: DrafterContext,
    settings: ShareSdSettings,
    target_forward: TorchForward,
    originals: OriginalWeights,
) -> LayerStack:
    """The quantized stack of a run's settings, kept between runs; 16 bits are the original."""
    if settings.bits == _UNQUANTIZED:
        return target_forward.stack

    def make() -> LayerStack:
        originals.to_memory()
        key, folder = model_key(context.target), context.folder / "grids"
        stores = {
            bits: GridStore(folder, key, bits, settings.group_size)
            for bits in (settings.bits, _HEAD_BITS)
        }
        stack = quantized_stack(
            target_forward.stack,
            bits=settings.bits,
            group_size=settings.group_size,
            head_bits=_HEAD_BITS,
            keep=settings.keep,
            # A GPU quantizes faster than a disk is read.
            grid_of=(lambda name, weight, bits: stores[bits].grid_of(name, weight))
            if context.target.device.type == "cpu"
            else None,
            progress=context.progress,
            kernels=context.target.kernels,
        )
        for store in stores.values():
            store.save()
        return stack

    key = (settings.bits, settings.group_size, settings.keep)
    return context.kept.get(_COPY, key, make)


def _place_of_originals(config: RunConfig, settings: ShareSdSettings) -> str:
    if settings.offload:
        return "disk"
    return "memory" if config.gpu_memory is None else "host memory, streamed"


def _identity(
    context: DrafterContext, settings: ShareSdSettings, forward: TorchForward
) -> dict[str, Any]:
    name = context.target.identity.name
    if settings.bits != _UNQUANTIZED:
        name += f" in {settings.bits} bits, groups of {settings.group_size}"
    return {
        "name": name,
        "method": "share-sd",
        "kernel": ", ".join(forward.kernel_names),
        "num_bytes": forward.stack.num_bytes,
        "originals": _place_of_originals(context.config, settings),
    }
