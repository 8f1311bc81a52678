"""GGUF files of architectures that transformers reads, with every key of their metadata honoured.

transformers takes what it knows of the metadata and is silent about the rest, so that each key is
put into the configuration here, or refused by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.backends.transformers.twin import check_twin
from core.errors import shown
from core.models.gguf_config import is_neutral, num_rows
from core.models.gguf_index import GgufFile
from core.models.quiet import quiet_gguf_reader, quiet_transformers
from core.models.weight_files import listed

# As llama.cpp names them. All have been compared with transformers' own folders.
OTHERS = ("falcon", "gpt2")
_LINEAR = ("scaling.type", "scaling.factor")
# Keys behind the architecture's name, and the first of these that a configuration has takes the value.
_ATTRIBUTES = {
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon",),
}  # fmt: skip


def write_by_transformers(shards: list[Path], file: GgufFile, folder: Path) -> None:
    """Configuration and weights of a file of one of OTHERS.

    Raises ValueError with a reason, ModelUnavailableError for what no draft tree can be computed of,
    and what transformers raises.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if file.architecture not in OTHERS:
        raise ValueError(f"the architecture {shown(file.architecture)} is not computed")
    if len(shards) > 1:
        raise ValueError(
            f"shards of the architecture {file.architecture} are not joined here; join them with "
            "llama-gguf-split --merge"
        )
    gguf = shards[0]
    quiet_transformers()
    quiet_gguf_reader()
    config: Any = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config.vocab_size = num_rows(file.tensors)
    _honour(config, file)
    check_twin(gguf.name, config)
    auto: Any = AutoModelForCausalLM
    module, report = auto.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise ValueError(f"it lacks {listed(report['missing_keys'])}")
    left_over = set(file.tensors) - _read_names(module, file.architecture)
    if left_over:
        raise ValueError(f"it has {listed(left_over)}, which is not computed")
    # The loader flags the module as quantized, which forbids to change its dtype.
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    is_plain = all(tensor.type_name in ("F16", "F32") for tensor in file.tensors.values())
    plain: Any = type(module)(module.config)
    plain.to(torch.float32 if is_plain else torch.bfloat16)
    plain.load_state_dict(module.state_dict())
    plain.tie_weights()
    plain.save_pretrained(folder)


def _read_names(module: Any, architecture: str) -> set[str]:
    """The tensors that transformers' reader looks for."""
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    processor_class: Any = TENSOR_PROCESSORS.get(architecture, TensorProcessor)
    processor = processor_class(config=module.config.to_dict())
    names = set(get_gguf_hf_weights_map(module, processor))
    return names | {f"{name}.weight" for name in names} | {"output.weight"}


def _honour(config: Any, file: GgufFile) -> None:
    """Puts every key into the configuration; raises ValueError with the first that has no place."""
    prefix = f"{file.architecture}."
    rotation: dict[str, Any] = {}
    for key, value in file.metadata.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        places = [place for place in _ATTRIBUTES.get(name, ()) if hasattr(config, place)]
        if name == "vocab_size" and value == config.vocab_size:
            continue
        if name.startswith("rope."):
            rotation[name.removeprefix("rope.")] = value
        elif places and isinstance(value, int | float | None):
            setattr(config, places[0], value)
        elif not is_neutral(name, value):
            raise ValueError(f"its {key} is {shown(value)}, which is not computed")
    reason = _rotation_reason(config, rotation)
    if reason is not None:
        raise ValueError(f"its {prefix}rope.{reason} is not computed")


def _rotation_reason(config: Any, told: Mapping[str, Any]) -> str | None:
    """Puts the rotation's keys into the configuration; the first that has no place, with its value."""
    settings = getattr(config, "rope_parameters", None) or {}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = int(head_dim * settings.get("partial_rotary_factor", 1.0))
    factor = told.get("scaling.factor", 1.0)
    if told.get("scaling.type", "linear") == "linear":
        if factor == 1.0:  # as if it was not there
            told = {key: value for key, value in told.items() if key not in _LINEAR}
        else:
            settings |= {"rope_type": "linear", "factor": factor}
    if "freq_base" in told and settings:
        settings["rope_theta"] = told["freq_base"]
    honoured = {
        "freq_base": settings.get("rope_theta"),
        "dimension_count": width,
        "scaling.type": {"default": "none"}.get(kind_of := settings.get("rope_type", ""), kind_of),
        "scaling.factor": settings.get("factor", 1.0),
        "scaling.original_context_length": settings.get("original_max_position_embeddings"),
    }
    if "scaling.type" not in told or told["scaling.type"] == "none":  # it is of no use there
        honoured["scaling.original_context_length"] = told.get("scaling.original_context_length")
    for key, value in told.items():
        if value != honoured.get(key) and not is_neutral(f"rope.{key}", value):
            return f"{key}, {shown(value)},"
    return None
