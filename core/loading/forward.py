"""Chooses what computes a model: our own forward where it can, else transformers' module."""

from typing import Any

import torch

from core.backends.cpu.forward import CpuForward, cpu_reason
from core.backends.cpu.library import Kernels
from core.backends.runner import ModelRunner, TargetForward
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.parallel import ParallelForward, ParallelRunner
from core.backends.torch.parallel_weights import ParallelStack
from core.backends.torch.sizes import check_sizes
from core.backends.torch.weights import LayerStack
from core.backends.transformers.forward import TransformersForward, transformers_shape
from core.distributed.leader import SplitForward, SplitRunner
from core.families.description import reason_against
from core.loading.loading import LoadedModel
from core.loading.weight_loading import stack_of
from core.models.model_config import ModelConfig, model_config_of


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
    if reason_against(module.config.to_dict()) is None:
        model_config = model_config_of(module)
        stack = stack or stack_of(module, model_config.described)
        if stack is not None:
            forward = _own_forward(model_config, stack, module.dtype, kernels)
            return ModelRunner(forward, forward.shape, context_limit, module.dtype, module.device)
    shape = transformers_shape(module)
    return ModelRunner(
        TransformersForward(module), shape, context_limit, module.dtype, module.device
    )


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
    stack = model.stack
    if isinstance(stack, ParallelStack):
        shape, limit, dtype = model_config.architecture, model.context_limit, model.dtype
        forward = ParallelForward(shape, stack, model_config.rotations, dtype)
        return ParallelRunner(forward, shape, limit, dtype, stack.final_norm.device)
    own = _own_forward(model_config, stack, model.row_dtype, model.kernels)
    return ModelRunner(own, own.shape, model.context_limit, model.row_dtype, model.device)


def _own_forward(
    model_config: ModelConfig, stack: LayerStack, dtype: torch.dtype, kernels: Kernels | None
) -> TorchForward:
    shape = model_config.architecture
    if isinstance(stack.layers, tuple):  # others come to the device when they are iterated over
        check_sizes(shape, stack)
    rotary = RotaryTable(model_config.rotations, dtype, stack.final_norm.device)
    own = TorchForward(shape, stack, rotary)
    if kernels is None or cpu_reason(own) is not None:
        return own
    return CpuForward(shape, stack, rotary, kernels)
