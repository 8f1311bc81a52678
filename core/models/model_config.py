"""What a folder says of a model that our own forward computes, without importing transformers.

Its classes take seconds to import, and they would only repeat what config.json says, where that says
everything. Where it leaves something to the classes' defaults, they are asked.
"""

from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ModelUnavailableError, shown
from core.families.architecture import Architecture, Rotation, default_rotation
from core.families.description import Description, RotationSettings, describe
from core.models.weight_files import CONFIG, read_json_object
from core.runtime.imports import quick_imports

# Tokenizers and configurations without a limit say 10**30; nothing holds so many tokens.
MOST_CONTEXT = 1 << 20


class ModelConfig(NamedTuple):
    """What our own forward needs to know of a model beside its weights."""

    described: Description
    rotations: tuple[Rotation, ...]
    context_limit: int
    end_token_ids: frozenset[int]
    """Of the generation settings; the tokenizer may know another."""

    @property
    def architecture(self) -> Architecture:
        return self.described.architecture


def read_model_config(folder: Path) -> ModelConfig | None:
    """None for models that our own forward does not compute, and for settings of impossible values."""
    try:
        config, described = _described(folder)
        return model_config_from(described, _ends(folder, config))
    except Exception:  # odd values raise whatever comes; transformers says what is wrong with them
        return None


def model_config_of(module: Any) -> ModelConfig:
    """The same of a transformers module; raises as `describe` does."""
    described = describe(module.config.to_dict())
    return model_config_from(described, generation_ends(module))


def transformers_config(folder: Path) -> Any:
    """The folder's configuration with the defaults of its class."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def _described(folder: Path) -> tuple[dict[str, Any], Description]:
    config = read_json_object(folder / CONFIG)
    try:
        return config, describe(config)
    except KeyError:
        config = transformers_config(folder).to_dict()
        return config, describe(config)


def model_config_from(described: Description, ends: frozenset[int]) -> ModelConfig:
    """The same of a description, and of the ids that end an answer."""
    rotations = tuple(_rotation(described, found) for found in described.rotations)
    limits = [described.context_length, MOST_CONTEXT]
    limits += [limit for found in described.rotations if (limit := _same_until(found)) is not None]
    return ModelConfig(described, rotations, min(limits), ends)


def context_limit_of(module: Any) -> int:
    """The most positions that a transformers module knows and computes in one way.

    Where a rotation changes with the length of the whole text, keys that were kept would not fit to
    those behind that length, and a drafted token could change the text.
    """
    text = module.config.get_text_config()
    limits = [getattr(text, "max_position_embeddings", None) or MOST_CONTEXT, MOST_CONTEXT]
    settings = getattr(text, "rope_parameters", None) or {}
    for part in (settings, *settings.values()):
        if isinstance(part, dict):
            limit = _same_until(RotationSettings(None, part))
            limits += [] if limit is None else [limit]
    return min(int(limit) for limit in limits)


def _same_until(rotation: RotationSettings) -> int | None:
    """The text's length behind which a rotation changes; None where it never does."""
    settings = rotation.settings or {}
    if settings.get("rope_type") != "longrope":
        return None
    if settings.get("short_factor") == settings.get("long_factor"):
        return None
    return int(settings["original_max_position_embeddings"])


def generation_ends(module: Any) -> frozenset[int]:
    """The ids that end an answer, by a transformers module's generation settings."""
    return _ids(module.generation_config.eos_token_id)


class _RotationConfig(NamedTuple):
    """The part of a configuration that transformers' rotations look at."""

    rope_parameters: dict[str, Any]
    head_dim: int
    hidden_size: int
    num_attention_heads: int
    max_position_embeddings: int

    def standardize_rope_params(self) -> None:
        """They are."""


def _rotation(described: Description, found: RotationSettings) -> Rotation:
    """An ordinary rotation from its base; the scaled ones are computed by transformers."""
    with quick_imports():  # the first that needs it of all that reads a model
        import torch
    shape = described.architecture
    half = shape.head_dim // 2
    if found.settings is None:
        return Rotation(torch.zeros(half), 1.0)
    kind, scaling = found.settings["rope_type"], 1.0
    if kind == "default":
        if type(found.settings["rope_theta"]) not in (int, float):
            raise ValueError("rope_theta is no number")
        inv_freq = default_rotation(
            described.rotary_size, float(found.settings["rope_theta"])
        ).inv_freq
    else:
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        config: Any = _RotationConfig(
            dict(found.settings),
            shape.head_dim,
            described.hidden_size,
            shape.num_heads,
            described.context_length,
        )
        inv_freq, scaling = ROPE_INIT_FUNCTIONS[kind](config)
    # Numbers that do not rotate come behind those that do, in both halves of a head.
    unrotated = torch.zeros(half - len(inv_freq))
    return Rotation(torch.cat([inv_freq.float(), unrotated]), float(scaling))


def ends_of(folder: Path) -> frozenset[int]:
    """The ids that end an answer, by the files of a folder whatever computes it."""
    return _ends(folder, read_json_object(folder / CONFIG))


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
