"""What our own forward and a run need to know of a GGUF file, read from the file alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ModelUnavailableError, SpecDecodesError, reason_of
from core.families.description import Description, describe
from core.families.gguf import architectures, in_gguf
from core.families.tensors import expected_shapes
from core.models.gguf_config import ROPE_FACTORS, ROPE_FREQS, config_of
from core.models.gguf_index import GgufFile, open_gguf
from core.models.gguf_tensors import GgufTensor, can_read
from core.models.gguf_tokenizer import TOKEN_LISTS, GgufTokenizer, read_tokenizer
from core.models.model_config import ModelConfig, model_config_from
from core.models.weight_files import listed


class GgufModel(NamedTuple):
    """A file, and what it says."""

    file: GgufFile
    tokenizer: GgufTokenizer
    file_type: str
    """llama.cpp's name of its number format, such as Q4_1."""
    config: dict[str, Any] | None
    """In transformers' words; None for architectures that transformers reads."""
    model_config: ModelConfig | None
    layout: Description | None
    """The description in it, as the file holds the model."""


def read_gguf(path: Path) -> GgufModel:
    """Reads the headers of a model of which one file is named, and checks them against each other.

    Raises ModelUnavailableError with one sentence for what cannot be read or is not computed.
    """
    try:
        return _read(open_gguf(path))
    except SpecDecodesError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise unreadable(path, error) from error
    except Exception as error:  # readers of broken files raise whatever comes
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> ModelUnavailableError:
    """The error of a file that is not whole, or holds what is not computed."""
    return ModelUnavailableError(
        f"{path} is no GGUF file that can be read ({reason_of(error)}); give a whole .gguf file of a "
        "supported architecture."
    )


def _read(file: GgufFile) -> GgufModel:
    if file.metadata.get("general.type", "model") != "model":
        raise ValueError(f"it is of the type {file.metadata['general.type']} and no model")
    tokenizer = read_tokenizer(file.metadata)
    file_type = _file_type(file.metadata)
    if file.architecture not in architectures():
        return GgufModel(file, tokenizer, file_type, None, None, None)
    for key in TOKEN_LISTS:  # megabytes that the tokenizer has taken over
        file.metadata.pop(key, None)
    config = config_of(file.metadata, file.tensors)
    described = describe(config)
    layout = in_gguf(described, file.tensors)
    _check_tensors(file.tensors, expected_shapes(layout), _rotation_tensors(described))
    model_config = model_config_from(described, tokenizer.end_token_ids)
    return GgufModel(file, tokenizer, file_type, config, model_config, layout)


def _check_tensors(
    tensors: Mapping[str, GgufTensor], wanted: Mapping[str, tuple[int, ...]], others: set[str]
) -> None:
    missing = set(wanted) - set(tensors)
    if missing:
        raise ValueError(f"it lacks {listed(missing)}")
    left_over = set(tensors) - set(wanted) - others
    if left_over:
        raise ValueError(f"it has {listed(left_over)}, which is not computed")
    unknown = {tensor.type_name for tensor in tensors.values() if not can_read(tensor.type_name)}
    if unknown:
        raise ValueError(f"it has tensors of the type {listed(unknown)}")
    wrong = [name for name, sizes in wanted.items() if _sizes(tensors[name].shape) != _sizes(sizes)]
    if wrong:
        raise ValueError(f"its {listed(wrong)} is of another size than its header says")


def _rotation_tensors(described: Description) -> set[str]:
    """Those that the configuration was made of."""
    own = described.family.gguf
    assert own is not None, "llama.cpp has the family"
    divisors = {ROPE_FREQS} if own.has_divisors else set()
    return divisors | (set(ROPE_FACTORS.values()) if own.has_long_factors else set())


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without the ones in front, which files may leave out."""
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape


def _file_type(metadata: dict[str, Any]) -> str:
    from gguf import LlamaFileType

    try:
        name: str = LlamaFileType(metadata.get("general.file_type")).name
    except ValueError:
        return "unknown"
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")
