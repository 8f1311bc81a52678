"""What is read of a model beside its tokenizer: from its files alone, or through transformers."""

from typing import Any, NamedTuple

from safetensors import SafetensorError

from core.errors import InvalidSettingError
from core.lean.weights import LayerStack, stack_of, unsupported_module
from core.models.lean_loading import Placement, num_parameters, open_weights, read_stack
from core.models.outline import (
    Outline,
    context_limit_of,
    generation_ends,
    outline_of,
    read_outline,
)
from core.models.packed import packed_stack
from core.models.sources import ModelSource
from core.models.storage import Progress
from core.models.transformers_loading import read_module
from core.models.weight_files import weight_files


class Contents(NamedTuple):
    """A model's weights and what goes with them."""

    num_parameters: int
    num_bytes: int
    context_limit: int
    end_token_ids: frozenset[int]
    outline: Outline | None = None
    stack: LayerStack | None = None
    module: Any = None


def read_contents(
    source: ModelSource, weights: str, place: Placement, progress: Progress, *, with_module: bool
) -> Contents:
    """`with_module` reads transformers' module and no stack.

    Raises ModelUnavailableError for files that cannot be read, and InvalidSettingError for packed
    weights of a model that the lean forward cannot compute.
    """
    outline = None if with_module else read_outline(source.folder)
    found = None if outline is None else _read_files(source, weights, outline, place, progress)
    return found or _read_module(source, weights, place, progress, with_module=with_module)


def _read_files(
    source: ModelSource, weights: str, outline: Outline, place: Placement, progress: Progress
) -> Contents | None:
    """The lean parts from the files alone; None where they are not what the outline expects."""
    try:
        with open_weights(weight_files(source.name, source.folder)) as tensors:
            total = num_parameters(tensors)
            if weights == "full" or source.gguf is None:
                stack = read_stack(tensors, outline, place, progress)
            else:
                stack = None
    except (OSError, ValueError, SafetensorError):  # told when the module is read
        return None
    if weights != "full" and (stack is not None or source.gguf is not None):
        stack = packed_stack(source, outline.shape, stack, weights, place, progress)
    if stack is None:
        return None
    return _lean_contents(total, outline, stack)


def _read_module(
    source: ModelSource, weights: str, place: Placement, progress: Progress, *, with_module: bool
) -> Contents:
    module = read_module(source, place.dtype, place.device, for_trees=not with_module)
    reason = unsupported_module(module)
    if with_module or (reason is not None and weights == "full"):
        return module_contents(module)
    if reason is not None:
        raise InvalidSettingError(
            f"weights {weights} needs the lean forward, which cannot compute {source.name} "
            f"({reason}); leave weights out."
        )
    outline, stack = outline_of(module), stack_of(module)
    if weights != "full":
        stack = packed_stack(source, outline.shape, stack, weights, place, progress)
    total = sum(parameter.numel() for parameter in module.parameters())
    return _lean_contents(total, outline, stack)


def module_contents(module: Any) -> Contents:
    """What a transformers module holds, all parts of a split one together."""
    return Contents(
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        num_bytes=sum(parameter.nbytes for parameter in module.parameters()),
        context_limit=context_limit_of(module),
        end_token_ids=generation_ends(module),
        module=module,
    )


def _lean_contents(total: int, outline: Outline, stack: LayerStack) -> Contents:
    return Contents(
        num_parameters=total,
        num_bytes=stack.num_bytes + stack.num_embedding_bytes + stack.num_norm_bytes,
        context_limit=outline.context_limit,
        end_token_ids=outline.end_token_ids,
        outline=outline,
        stack=stack,
    )
