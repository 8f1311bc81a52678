"""Reads modules and tokenizers with transformers, whose errors become single sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from core.errors import ModelUnavailableError
from core.models.folder_check import check_folder
from core.models.quiet import quiet_transformers
from core.models.sources import ModelSource


def read_module(source: ModelSource, dtype: torch.dtype, device: torch.device) -> Any:
    """The transformers module in evaluation mode; raises ModelUnavailableError."""
    with _told(source.name):
        from transformers import AutoModelForCausalLM

        quiet_transformers()
        check_folder(source.folder)
        module: Any = AutoModelForCausalLM.from_pretrained(source.folder, dtype=dtype)
        return module.to(device).eval().requires_grad_(False)


def read_transformers_tokenizer(source: ModelSource) -> Any:
    """Raises ModelUnavailableError."""
    with _told(source.name):
        from transformers import AutoTokenizer

        quiet_transformers()
        return AutoTokenizer.from_pretrained(source.folder)


def out_of_memory(name: str, why: str) -> ModelUnavailableError:
    """The error of a model that is too large."""
    return ModelUnavailableError(
        f"{name} {why}; give a smaller model or dtype, or close other programs."
    )


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise out_of_memory(name, "does not fit into memory") from error
    except Exception as error:  # broken files raise whatever comes
        if "not enough memory" in str(error):
            raise out_of_memory(name, "does not fit into memory") from error
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelUnavailableError(
            f"{name} cannot be loaded ({reason}); give a causal language model in transformers' "
            "format."
        ) from error
