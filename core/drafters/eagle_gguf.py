"""An EAGLE-3 head in a GGUF file, as llama.cpp's converter writes them (conversion/llama.py).

The layer is laid as a Llama's is in such files. Beside it stand the head's own tensors under names of
their own, and ids of the target in `d2t`, where folders have offsets.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.drafters.eagle_description import HIDDEN_NORM, LAYER_IDS
from core.drafters.head_tensors import HeadFolder
from core.families.description import Description, NotDescribedError, describe
from core.families.gguf import in_gguf
from core.families.registry import FAMILIES
from core.families.tensors import expected_shapes
from core.models.gguf_config import ROPE_FREQS, layers_config_of
from core.models.gguf_folder import layer_weights
from core.models.gguf_index import GgufFile, open_gguf
from core.models.gguf_tensors import GgufNumbers, can_read
from core.models.weight_files import listed

_ARCHITECTURE = "eagle3"
_LAYERS = FAMILIES["llama"]
_TARGET_LAYERS = "target_layers"
# Settings of the head by what folders call them.
_SETTINGS = {
    _TARGET_LAYERS: LAYER_IDS,
    "target_hidden_size": "target_hidden_size",
    "norm_before_residual": "norm_before_residual",
    "norm_before_fc": "norm_before_fc",
}
# What is not of the layer, by its names in folders.
_NAMES = {
    "fc.weight": "fc.weight",
    "enc.output_norm.weight": "input_norm.weight",
    "blk.0.attn_norm_2.weight": HIDDEN_NORM,
    "output_norm.weight": "norm.weight",
    "output.weight": "lm_head.weight",
    "token_embd.weight": "embed_tokens.weight",
}
_IDS = "d2t"


class HeadFile(NamedTuple):
    """What a folder with the same head would hold."""

    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def is_head_file(path: Path) -> bool:
    """Whether a path names a GGUF file, and no folder."""
    return path.suffix.lower() == ".gguf" and path.is_file()


def read_head_file(folder: HeadFolder) -> HeadFile:
    """The head in the GGUF file at `folder.path`.

    Raises DrafterUnavailableError for what is none, and for what it says that is not computed here.
    """
    try:
        return _read(open_gguf(folder.path))
    except NotDescribedError as error:
        raise folder.refused(f"is not computed here: {error}") from error
    except (ValueError, OSError) as error:
        raise folder.refused(f"cannot be read ({error})") from error


def _read(file: GgufFile) -> HeadFile:
    if file.architecture != _ARCHITECTURE:
        raise ValueError(
            f"its architecture is {file.architecture}, and that of heads {_ARCHITECTURE}"
        )
    told = {key: file.metadata.get(f"{_ARCHITECTURE}.{key}") for key in _SETTINGS}
    if told[_TARGET_LAYERS] is None:
        raise ValueError(f"it does not say {_ARCHITECTURE}.{_TARGET_LAYERS}")
    config = layers_config_of(_LAYERS, file.metadata, file.tensors, _SETTINGS)
    if config["num_hidden_layers"] != 1:
        raise ValueError(f"it has {config['num_hidden_layers']} layers, and llama.cpp computes one")
    own = {name: told[key] for key, name in _SETTINGS.items() if told[key] is not None}
    return HeadFile(
        {**config, **own, "tie_word_embeddings": False}, _tensors(file, describe(config))
    )


def _tensors(file: GgufFile, described: Description) -> dict[str, torch.Tensor]:
    layout = in_gguf(described, file.tensors)
    layer = set(expected_shapes(layout)) - set(_NAMES)
    missing = layer - set(file.tensors)
    if missing:
        raise ValueError(f"it lacks {listed(missing)}")
    unknown = set(file.tensors) - layer - {*_NAMES, _IDS, ROPE_FREQS}
    if unknown:
        raise ValueError(f"it has {listed(unknown)}, which is not computed")
    types = {part.type_name for name, part in file.tensors.items() if name != _IDS}
    if unreadable := {name for name in types if not can_read(name)}:
        raise ValueError(f"it has tensors of the type {listed(unreadable)}")
    numbers = GgufNumbers(file.tensors, {name: part.shape for name, part in file.tensors.items()})
    tensors = dict(layer_weights(described, layout, 0, numbers))
    tensors |= {name: numbers[key] for key, name in _NAMES.items() if key in file.tensors}
    if _IDS in file.tensors:
        ids = file.tensors[_IDS]
        if ids.type_name != "I64":
            raise ValueError(f"its {_IDS} is of the type {ids.type_name} and not I64")
        tensors[_IDS] = torch.tensor(ids.data) - torch.arange(len(ids.data))
    return tensors
