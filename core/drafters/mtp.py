"""sd-mtp: a target's own layer for multi-token prediction drafts, as an EAGLE head does.

The layer stands behind the others in the target's checkpoint (DeepSeek-V3, arXiv 2412.19437). It reads
the target's last state beside the embedding of the next token, and the target's output layer says what
comes after that; further tokens are drafted from the states that it makes itself.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.backends.torch.forward import TorchForward
from core.backends.torch.weights import LayerStack, LayerWeights
from core.drafters.context import DrafterContext
from core.drafters.eagle import EagleDrafter, eagle_drafter
from core.drafters.eagle_forward import EagleForward
from core.drafters.eagle_weights import HeadWeights, PairNorms, TargetNorm
from core.drafters.grown import KeptForward, kept_forward
from core.drafters.head_tensors import HeadFolder, HeadTensors, named_folder
from core.drafters.packing import packed_for, packed_layer
from core.errors import DrafterUnavailableError
from core.families.mtp import MTP_FORMS, MtpForm, is_mtp_tensor
from core.loading.loading import LoadedModel

_WHAT = "layer for multi-token prediction"


def make_mtp(context: DrafterContext) -> EagleDrafter:
    """The drafter for a run, of the target's own folder or the one that `draft` names.

    Raises DrafterUnavailableError where there is no such layer, or one that is not computed here.
    """
    target_forward, target = context.runner.forward, context.target
    assert isinstance(target_forward, TorchForward), "unavailable_reason comes first"
    folder = _folder(context)
    runner = context.runner

    def load() -> KeptForward[EagleForward]:
        return kept_forward(load_mtp(folder, target, target_forward), runner)

    head = context.kept.get(_WHAT, str(folder), load)
    return eagle_drafter(
        context,
        head,
        name="sd-mtp",
        what=f"{_WHAT} of {target.identity.name}",
        key=("mtp", f"{head.forward.weights.num_bytes} bytes"),
    )


def _folder(context: DrafterContext) -> Path:
    source = context.target.source
    if context.config.draft is not None:
        return named_folder(context.config.draft, f"a {_WHAT}")
    if source.given_folder is None or source.gguf is not None:
        raise DrafterUnavailableError(
            f"no {_WHAT} is read of a .gguf file; give --draft the folder of a checkpoint with one."
        )
    return source.given_folder


def load_mtp(path: Path, target: LoadedModel, forward: TorchForward) -> EagleForward:
    """The first such layer in a folder, for a target that our own forward computes.

    Raises DrafterUnavailableError as `core.drafters.eagle_loading.load_head` does.
    """
    folder, num_layers = HeadFolder(_WHAT, path, target), forward.shape.num_layers
    config = folder.config()
    if config.get("quantization_config") is not None:
        raise folder.refused("is quantized; give one in 16 or 32 bits")
    found = folder.read(wanted=lambda name: is_mtp_tensor(name, num_layers))
    form = _form_of(found, num_layers, folder)
    if forward.shape.embedding_scale != 1.0:
        raise folder.refused("reads embeddings, which this target scales")
    if forward.stack.final_norm.dim() > 1:
        raise folder.refused("has norms, and its target layer norms, which are not computed here")
    tensors = HeadTensors(folder, _renamed(found, form, num_layers))
    hidden, offset = forward.stack.final_norm.shape[-1], _norm_offset(target)

    def norm(name: str) -> torch.Tensor:
        return tensors.take(f"{name}.weight", hidden) + offset

    stack = forward.stack
    layer = _layer(tensors, target, hidden, folder)
    weights = HeadWeights(
        stack=LayerStack(
            (packed_layer(forward, layer),), stack.embedding, norm(form.final_norm), stack.head
        ),
        fuse=packed_for(forward, tensors.linear(form.join, hidden, 2 * hidden)),
        state_norm=None,
        target_ids=None,
        state_layers=(num_layers,),
        hidden_size=hidden,
        target_size=hidden,
        target_norm=TargetNorm(stack.final_norm, forward.shape.norm_eps),
        pair_norms=PairNorms(norm(form.embedding_norm), norm(form.state_norm), form.state_is_first),
        made_is_normed=True,
    )
    tensors.check_all_taken()
    weights = replace(weights, num_bytes=tensors.num_bytes)
    return EagleForward(replace(forward.shape, num_layers=1), weights, forward.rotary)


def _form_of(tensors: dict[str, Any], num_layers: int, folder: HeadFolder) -> MtpForm:
    for form in MTP_FORMS.values():
        if f"{form.own.format(num_layers)}{form.join}.weight" in tensors:
            return form
    if tensors:
        raise folder.refused(f"is of no known form (it holds {min(tensors)})")
    raise DrafterUnavailableError(
        f"{folder.path} holds no {_WHAT}; give --draft a folder with one, or another mode."
    )


def _renamed(
    tensors: dict[str, torch.Tensor], form: MtpForm, num_layers: int
) -> dict[str, torch.Tensor]:
    """Those of the first layer: its decoder layer's as of a layer 0, the others without a prefix."""
    layer, own = form.layer.format(num_layers), form.own.format(num_layers)
    parts = (form.embedding_norm, form.state_norm, form.join, form.final_norm)
    renamed = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(own)
        if name.startswith(own) and plain.startswith(tuple(f"{part}." for part in parts)):
            renamed[plain] = tensor
        elif name.startswith(layer) and plain not in form.copies:
            renamed[f"layers.0.{name.removeprefix(layer)}"] = tensor
    return renamed


def _layer(
    tensors: HeadTensors, target: LoadedModel, hidden: int, folder: HeadFolder
) -> LayerWeights:
    """One as the target's last."""
    assert target.model_config is not None, "our own forward computes it"
    described = target.model_config.described
    one = described.of_layer(described.architecture.num_layers - 1)
    table = described.family.experts
    if table is not None and table.stacked is not None and one.is_sparse[0]:
        raise folder.refused("has experts in one tensor, which is not computed here")
    (layer,) = tensors.layers(one, hidden)
    return layer


def _norm_offset(target: LoadedModel) -> float:
    assert target.model_config is not None, "our own forward computes it"
    return target.model_config.described.family.norm_offset
