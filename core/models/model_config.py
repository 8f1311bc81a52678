"""What a folder says of a Llama-shaped model: sizes, rotation, ends. Without importing transformers.

Its classes take seconds to import, and they would only repeat what config.json says, where that says
everything. Where it leaves something to the classes' defaults, they are asked.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.backends.torch.support import Extras, extras_of, rotation_settings, unsupported_reason
from core.backends.torch.weights import Rotation, Shape, rotation_of, shape_of
from core.errors import ModelUnavailableError, shown
from core.models.weight_files import CONFIG, read_json_object

# Tokenizers and configurations without a limit say 10**30; nothing holds so many tokens.
MOST_CONTEXT = 1 << 20
# A file may tell of any number; this is far more than any model has.
_MOST_HEAD_DIM = 1 << 14


class ModelConfig(NamedTuple):
    """What our own forward needs to know of a model beside its weights."""

    shape: Shape
    rotation: Rotation
    context_limit: int
    end_token_ids: frozenset[int]
    """Of the generation settings; the tokenizer may know another."""
    is_tied: bool
    """Whether the head is the embedding, where the files have none or the same."""
    hidden_size: int
    inner_size: int
    """Width of the feed-forward."""
    extras: Extras


def read_model_config(folder: Path) -> ModelConfig | None:
    """None for other architectures, and where config.json alone does not say everything."""
    try:
        config = read_json_object(folder / CONFIG)
        if unsupported_reason(config) is not None:
            return None
        # Where it is left out, transformers has a window of its own for this kind.
        if config["model_type"] == "mistral" and "sliding_window" not in config:
            return None
        num_heads = _count(config, "num_attention_heads")
        num_kv_heads = _count(config, "num_key_value_heads")
        hidden_size = _count(config, "hidden_size")
        head_dim = (
            hidden_size // num_heads
            if config.get("head_dim") is None
            else _count(config, "head_dim")
        )
        if num_heads % num_kv_heads or head_dim % 2 or head_dim > _MOST_HEAD_DIM:
            return None
        return ModelConfig(
            shape=Shape(
                num_layers=_count(config, "num_hidden_layers"),
                num_heads=num_heads,
                num_kv_heads=num_kv_heads,
                head_dim=head_dim,
                vocab_size=_count(config, "vocab_size"),
                norm_eps=config["rms_norm_eps"],
            ),
            rotation=_rotation(folder, config, head_dim),
            context_limit=min(_count(config, "max_position_embeddings"), MOST_CONTEXT),
            end_token_ids=_ends(folder, config),
            is_tied=config["tie_word_embeddings"],
            hidden_size=hidden_size,
            inner_size=_count(config, "intermediate_size"),
            extras=extras_of(config),
        )
    except Exception:  # odd values raise whatever comes; transformers says what is wrong with them
        return None


def model_config_of(module: Any) -> ModelConfig:
    """The same of a transformers module that our own forward can compute."""
    return ModelConfig(
        shape_of(module),
        rotation_of(module),
        context_limit_of(module),
        generation_ends(module),
        bool(module.config.tie_word_embeddings),
        int(module.config.hidden_size),
        int(module.config.intermediate_size),
        extras_of(module.config.to_dict()),
    )


def context_limit_of(module: Any) -> int:
    """The most positions that a transformers module knows and computes in one way.

    Where a rotation changes with the length of the whole text, keys that were kept would not fit to
    those behind that length, and a drafted token could change the text.
    """
    text = module.config.get_text_config()
    limits = [getattr(text, "max_position_embeddings", None) or MOST_CONTEXT, MOST_CONTEXT]
    settings = getattr(text, "rope_parameters", None) or {}
    for part in (settings, *settings.values()):
        is_long = isinstance(part, dict) and part.get("rope_type") == "longrope"
        if is_long and part.get("short_factor") != part.get("long_factor"):
            limits.append(part["original_max_position_embeddings"])
    return min(int(limit) for limit in limits)


def generation_ends(module: Any) -> frozenset[int]:
    """The ids that end an answer, by a transformers module's generation settings."""
    return _ids(module.generation_config.eos_token_id)


def _rotation(folder: Path, config: dict[str, Any], head_dim: int) -> Rotation:
    """An ordinary rotation from its base; the scaled ones are computed by transformers."""
    settings = rotation_settings(config)
    kind = settings["rope_type"]
    if kind == "default":
        exponents = torch.arange(0, head_dim, 2).float() / head_dim
        if type(settings["rope_theta"]) not in (int, float):
            raise ValueError("rope_theta is no number")
        return Rotation(1.0 / (float(settings["rope_theta"]) ** exponents), 1.0)
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    inv_freq, scaling = ROPE_INIT_FUNCTIONS[kind](AutoConfig.from_pretrained(folder))
    return Rotation(inv_freq.float(), float(scaling))


def _count(config: dict[str, Any], key: str) -> int:
    """A number above 0; raises ValueError for others, as transformers does."""
    if config[key] <= 0:
        raise ValueError(f"{key} is no number above 0")
    return int(config[key])


def _ends(folder: Path, config: dict[str, Any]) -> frozenset[int]:
    """Those of the generation settings, where there are any; config.json's have to be ids as well."""
    ends = _ids(config.get("eos_token_id"))
    settings = folder / "generation_config.json"
    return _ids(read_json_object(settings).get("eos_token_id")) if settings.exists() else ends


def _ids(found: Any) -> frozenset[int]:
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if any(type(token_id) is not int for token_id in ids):
        raise ModelUnavailableError(
            f"eos_token_id is {shown(found)}, and what ends an answer are the ids of tokens; mend it in "
            "generation_config.json or config.json."
        )
    return frozenset(ids)
