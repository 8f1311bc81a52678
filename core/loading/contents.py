"""What is read of a model beside its tokenizer: from its files alone, or through transformers."""

from typing import Any, NamedTuple

from safetensors import SafetensorError

from core.backends.torch.weights import LayerStack
from core.errors import InvalidSettingError
from core.families.description import reason_against
from core.loading.gguf_weights import gguf_stack, has_floats
from core.loading.packed import QUANTIZED, packed_stack
from core.loading.weight_loading import (
    Placement,
    num_parameters,
    open_weights,
    read_stack,
    stack_of,
)
from core.models.gguf_model import GgufModel
from core.models.model_config import (
    ModelConfig,
    context_limit_of,
    generation_ends,
    model_config_of,
    read_model_config,
)
from core.models.sources import ModelSource
from core.models.transformers_loading import read_module, told
from core.models.weight_files import weight_files
from core.quant.stack import is_packed
from core.runtime.storage import Progress


class Contents(NamedTuple):
    """A model's weights and what goes with them."""

    num_parameters: int
    num_bytes: int
    num_token_ids: int
    """Rows of the embedding."""
    context_limit: int
    end_token_ids: frozenset[int]
    model_config: ModelConfig | None = None
    stack: LayerStack | None = None
    is_packed: bool = False
    """Whether layers hold whole numbers."""
    module: Any = None


def read_contents(
    source: ModelSource, weights: str, place: Placement, progress: Progress
) -> Contents:
    """Raises ModelUnavailableError for files that cannot be read, and InvalidSettingError for packed
    weights of a model that our own forward cannot compute."""
    if source.model is not None:
        return _read_gguf(source, source.model, weights, place, progress)
    model_config = read_model_config(source.folder)
    found = (
        None
        if model_config is None
        else _read_files(source, weights, model_config, place, progress)
    )
    return found or _read_module(source, weights, place, progress)


def _read_gguf(
    source: ModelSource, model: GgufModel, weights: str, place: Placement, progress: Progress
) -> Contents:
    """All from the file itself."""
    assert model.model_config is not None and source.gguf is not None, "the family is known"
    with told(source.name):
        found = gguf_stack(source.gguf, model, weights, place, progress)
    stack = found.stack
    if weights in QUANTIZED and has_floats(model.file.tensors):
        stack = packed_stack(source, stack, weights, place.kernels, progress)
    return _own_contents(found.num_parameters, model.model_config, stack)


def _read_files(
    source: ModelSource,
    weights: str,
    model_config: ModelConfig,
    place: Placement,
    progress: Progress,
) -> Contents | None:
    """What our own forward takes, from the files alone; None where they are not what the model_config
    expects."""
    try:
        with open_weights(weight_files(source.name, source.folder)) as tensors:
            total = num_parameters(tensors)
            stack = read_stack(tensors, model_config.described, place, progress)
    except (OSError, ValueError, SafetensorError):  # told when the module is read
        return None
    if stack is None:
        return None
    if weights in QUANTIZED:
        stack = packed_stack(source, stack, weights, place.kernels, progress)
    return _own_contents(total, model_config, stack)


def _read_module(
    source: ModelSource, weights: str, place: Placement, progress: Progress
) -> Contents:
    module = read_module(source, place.dtype, place.device)
    reason = reason_against(module.config.to_dict())
    model_config = model_config_of(module) if reason is None else None
    stack = None if model_config is None else stack_of(module, model_config.described)
    if stack is None and weights not in QUANTIZED:
        return module_contents(module)
    if model_config is None or stack is None:
        reason = reason or "its module names its weights otherwise than files do"
        raise InvalidSettingError(
            f"weights {weights} needs our own forward, which cannot compute {source.name} "
            f"({reason}); leave weights out."
        )
    if weights in QUANTIZED:
        stack = packed_stack(source, stack, weights, place.kernels, progress)
    total = sum(parameter.numel() for parameter in module.parameters())
    return _own_contents(total, model_config, stack)


def module_contents(module: Any) -> Contents:
    """What a transformers module holds, all parts of a split one together."""
    return Contents(
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        num_bytes=sum(parameter.nbytes for parameter in module.parameters()),
        num_token_ids=int(module.get_input_embeddings().num_embeddings),
        context_limit=context_limit_of(module),
        end_token_ids=generation_ends(module),
        module=module,
    )


def _own_contents(total: int, model_config: ModelConfig, stack: LayerStack) -> Contents:
    return Contents(
        num_parameters=total,
        num_bytes=stack.num_bytes + stack.num_embedding_bytes + stack.num_norm_bytes,
        num_token_ids=model_config.architecture.vocab_size,
        context_limit=model_config.context_limit,
        end_token_ids=model_config.end_token_ids,
        model_config=model_config,
        stack=stack,
        is_packed=is_packed(stack),
    )
