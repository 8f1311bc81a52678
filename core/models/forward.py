"""Chooses what computes a model: the lean forward where it can, else transformers' module."""

from typing import Any

import torch

from core.lean.forward import LeanForward, RotaryTable
from core.lean.native.forward import NativeForward, native_reason
from core.lean.native.library import Kernels
from core.lean.sizes import check_sizes
from core.lean.weights import (
    LayerStack,
    Rotation,
    Shape,
    rotation_of,
    shape_of,
    stack_of,
    unsupported_module,
)
from core.models.loading import LoadedModel
from core.models.transformers_forward import TransformersForward, transformers_shape
from core.parallel.leader import SplitForward, SplitVerifier
from core.parallel.spread import SpreadVerifier
from core.verifier import TargetForward, Verifier


def make_verifier(
    module: Any,
    context_limit: int,
    *,
    stack: LayerStack | None = None,
    kernels: Kernels | None = None,
) -> Verifier:
    """The backend of a transformers module, with a cache of its own.

    `stack` stands in for the module's own layers; `kernels` compute where they can.
    """
    forward: TargetForward
    if unsupported_module(module) is None:
        shape = shape_of(module)
        forward = _lean_forward(
            shape, rotation_of(module), stack or stack_of(module), module.dtype, kernels
        )
    else:
        shape = transformers_shape(module)
        forward = TransformersForward(module)
    return Verifier(forward, shape, context_limit, module.dtype, module.device)


def verifier_of(model: LoadedModel) -> Verifier:
    """The backend of a loaded model, with a cache of its own."""
    outline = model.outline
    if model.split is not None:
        module = model.split.module
        forward: TargetForward = SplitForward(module, model.split.channel)
        shape, limit = transformers_shape(module), model.context_limit
        return SplitVerifier(forward, shape, limit, model.dtype, model.device)
    if model.is_spread:
        forward = TransformersForward(model.module)
        shape, limit = transformers_shape(model.module), model.context_limit
        return SpreadVerifier(forward, shape, limit, model.dtype, model.device)
    if outline is None:
        return make_verifier(model.module, model.context_limit)
    assert model.stack is not None, "no engine has taken it"
    forward = _lean_forward(
        outline.shape, outline.rotation, model.stack, model.dtype, model.kernels
    )
    return Verifier(forward, outline.shape, model.context_limit, model.dtype, model.device)


def _lean_forward(
    shape: Shape,
    rotation: Rotation,
    stack: LayerStack,
    dtype: torch.dtype,
    kernels: Kernels | None,
) -> LeanForward:
    if isinstance(stack.layers, tuple):  # others come to the device when they are iterated over
        check_sizes(shape, stack)
    rotary = RotaryTable(rotation, dtype, stack.final_norm.device)
    lean = LeanForward(shape, stack, rotary)
    if kernels is None or native_reason(lean) is not None:
        return lean
    return NativeForward(shape, stack, rotary, kernels)
