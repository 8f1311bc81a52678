"""Chooses what computes a model: our own forward where it can, else transformers' module."""

from typing import Any

import torch

from core.backends.cpu.forward import CpuForward, cpu_reason
from core.backends.cpu.library import Kernels
from core.backends.runner import ModelRunner, TargetForward
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.sizes import check_sizes
from core.backends.torch.weights import (
    LayerStack,
    Rotation,
    Shape,
    rotation_of,
    shape_of,
    stack_of,
    unsupported_module,
)
from core.backends.transformers.forward import TransformersForward, transformers_shape
from core.distributed.leader import SplitForward, SplitRunner
from core.loading.loading import LoadedModel


def make_runner(
    module: Any,
    context_limit: int,
    *,
    stack: LayerStack | None = None,
    kernels: Kernels | None = None,
) -> ModelRunner:
    """The backend of a transformers module, with a cache of its own.

    `stack` stands in for the module's own layers; `kernels` compute where they can.
    """
    forward: TargetForward
    if unsupported_module(module) is None:
        shape = shape_of(module)
        forward = _own_forward(
            shape, rotation_of(module), stack or stack_of(module), module.dtype, kernels
        )
    else:
        shape = transformers_shape(module)
        forward = TransformersForward(module)
    return ModelRunner(forward, shape, context_limit, module.dtype, module.device)


def runner_of(model: LoadedModel) -> ModelRunner:
    """The backend of a loaded model, with a cache of its own."""
    model_config = model.model_config
    if model.split is not None:
        module = model.split.module
        forward: TargetForward = SplitForward(module, model.split.channel)
        shape, limit = transformers_shape(module), model.context_limit
        return SplitRunner(forward, shape, limit, model.dtype, model.device)
    if model.is_spread:
        forward = TransformersForward(model.module)
        shape, limit = transformers_shape(model.module), model.context_limit
        return ModelRunner(forward, shape, limit, model.dtype, model.device)
    if model_config is None:
        return make_runner(model.module, model.context_limit)
    assert model.stack is not None, "no engine has taken it"
    forward = _own_forward(
        model_config.shape, model_config.rotation, model.stack, model.dtype, model.kernels
    )
    return ModelRunner(forward, model_config.shape, model.context_limit, model.dtype, model.device)


def _own_forward(
    shape: Shape,
    rotation: Rotation,
    stack: LayerStack,
    dtype: torch.dtype,
    kernels: Kernels | None,
) -> TorchForward:
    if isinstance(stack.layers, tuple):  # others come to the device when they are iterated over
        check_sizes(shape, stack)
    rotary = RotaryTable(rotation, dtype, stack.final_norm.device)
    own = TorchForward(shape, stack, rotary)
    if kernels is None or cpu_reason(own) is not None:
        return own
    return CpuForward(shape, stack, rotary, kernels)
