"""Reads modules and tokenizers with transformers, whose errors become single sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from core.backends.transformers.twin import check_twin
from core.errors import ModelUnavailableError, SpecDecodesError, reason_of
from core.families.description import reason_against
from core.models.folder_check import check_folder
from core.models.quiet import quiet_transformers
from core.models.sources import ModelSource
from core.models.weight_files import key_mapping, listed


def read_module(source: ModelSource, dtype: torch.dtype, device: torch.device) -> Any:
    """The transformers module in evaluation mode.

    Raises ModelUnavailableError, before any weight is read where that can be.
    """
    check_computable(source)
    return read_weights(source, dtype=dtype).to(device)


def check_computable(source: ModelSource) -> None:
    """Raises ModelUnavailableError for a folder that is no whole model, and for a model of which
    neither our own forward nor transformers' module computes draft trees rightly."""
    check_folder(source.name, source.folder)
    with told(source.name):
        from transformers import AutoConfig

        quiet_transformers()
        config = AutoConfig.from_pretrained(source.folder)
    if reason_against(config.to_dict()) is not None:
        check_twin(source.name, config)


def read_weights(source: ModelSource, **how: Any) -> Any:
    """The module of a folder with all its weights; `how` is for transformers' `from_pretrained`.

    Raises ModelUnavailableError, also where a weight is missing or is left over.
    """
    check_folder(source.name, source.folder)
    with told(source.name):
        from transformers import AutoModelForCausalLM

        quiet_transformers()
        auto: Any = AutoModelForCausalLM
        module, report = auto.from_pretrained(
            source.folder,
            key_mapping=key_mapping(),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report
            **how,
        )
        _check_report(source.name, report)
        return module.eval().requires_grad_(False)


def _check_report(name: str, report: dict[str, Any]) -> None:
    missing, left_over = report["missing_keys"], report["unexpected_keys"]
    mismatched = [key for key, *_ in report["mismatched_keys"]]
    if mismatched:
        raise ModelUnavailableError(
            f"{name} has other sizes than its config.json says in {listed(mismatched)}; give the "
            "configuration and the weights of one model."
        )
    if missing:
        raise ModelUnavailableError(
            f"{name} lacks the weights {listed(missing)}; give a folder with all of them."
        )
    if left_over:
        raise ModelUnavailableError(
            f"{name} holds the weights {listed(left_over)}, which a model of its configuration does "
            "not have; give the configuration and the weights of one model."
        )


def read_transformers_tokenizer(source: ModelSource) -> Any:
    """Raises ModelUnavailableError."""
    with told(source.name):
        from transformers import AutoTokenizer

        quiet_transformers()
        return AutoTokenizer.from_pretrained(source.folder)


def out_of_memory(name: str, why: str) -> ModelUnavailableError:
    """The error of a model that is too large."""
    return ModelUnavailableError(
        f"{name} {why}; give a smaller model or dtype, or close other programs."
    )


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turns whatever comes out of broken files into ModelUnavailableError."""
    try:
        yield
    except SpecDecodesError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise out_of_memory(name, "does not fit into memory") from error
    except Exception as error:  # broken files raise whatever comes
        if "not enough memory" in str(error):
            raise out_of_memory(name, "does not fit into memory") from error
        reason = reason_of(error)
        raise ModelUnavailableError(
            f"{name} cannot be loaded ({reason}); give a causal language model in transformers' "
            "format."
        ) from error
