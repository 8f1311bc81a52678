"""A GGUF file's metadata as a configuration in transformers' words, with nothing left over.

Every value under the architecture's name is honoured, is known to change nothing, or is refused by
name. What the keys mean is llama.cpp's to say (llama-model.cpp, models/, conversion/); what differs
between families stands in their tables.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from core.errors import shown
from core.families.family import Family, Gguf, GgufKey, Key
from core.families.gguf import bias_settings, families_of
from core.models.gguf_tensors import GgufTensor

ROPE_FREQS = "rope_freqs.weight"
ROPE_FACTORS = {
    "short_factor": "rope_factors_short.weight",
    "long_factor": "rope_factors_long.weight",
}
# Values with which a key changes nothing: those named here, and off for all others.
_OFF = (0, False, "")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "expert_weights_scale": (0.0, 1.0),
    "logit_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.finetuned": (True, False),
    "rope.scaling.yarn_ext_factor": (1.0, -1.0),
    "tensor_data_layout": ("Meta AI original pth", "jploski"),
}
_SOFTMAX, _SIGMOID = 1, 2
_SCALED_TWICE = "it has {} and scales positions in another way as well"
_DEFAULT_THETA = 10_000.0
_WINDOW, _PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
_COMMON: dict[str, Any] = {
    "hidden_size": GgufKey("embedding_length"),
    "intermediate_size": GgufKey("feed_forward_length"),
    "num_hidden_layers": GgufKey("block_count"),
    "num_attention_heads": GgufKey("attention.head_count"),
    "num_key_value_heads": GgufKey(
        "attention.head_count_kv", lambda found: found["num_attention_heads"]
    ),
    "head_dim": GgufKey(
        "attention.key_length", lambda found: found["hidden_size"] // found["num_attention_heads"]
    ),
    "max_position_embeddings": GgufKey("context_length"),
}
_RMS_EPS, _LAYER_EPS = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"


def config_of(metadata: Mapping[str, Any], tensors: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """What config.json would say of a file of one of the families.

    Raises ValueError with a reason for what is missing, impossible or not honoured.
    """
    architecture = str(metadata["general.architecture"])
    values = _Values(architecture, metadata)
    return _config(values, _family(values), tensors, num_rows(tensors))


def layers_config_of(
    family: Family,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, GgufTensor],
    own_keys: Collection[str],
) -> dict[str, Any]:
    """The same of a file that holds layers of a family under an architecture's name of its own, and
    what else it says under `own_keys`."""
    values = _Values(str(metadata["general.architecture"]), metadata, own_keys)
    return _config(values, family, tensors, values.count("vocab_size"))


def _config(
    values: "_Values", family: Family, tensors: Mapping[str, GgufTensor], vocab_size: int
) -> dict[str, Any]:
    own = family.gguf
    assert own is not None, "it was found by what llama.cpp calls it"
    config: dict[str, Any] = {
        "architectures": [family.class_name],
        "model_type": family.model_type,
        "vocab_size": vocab_size,
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    eps = GgufKey(_LAYER_EPS if family.is_layer_norm else _RMS_EPS)
    settings = {**_COMMON, **own.settings}
    if isinstance(family.norm_eps, Key):
        settings[family.norm_eps.name] = eps
    elif values.number(eps.name) != family.norm_eps:
        raise values.not_honoured(eps.name)
    if isinstance(family.activation, Key):
        settings = {family.activation.name: "silu", **settings}
    for name, source in settings.items():
        config[name] = values.setting(source, config)
    values.expect("attention.value_length", config["head_dim"])
    values.expect("vocab_size", config["vocab_size"])
    if config["num_hidden_layers"] > len(tensors):
        raise ValueError(f"{config['num_hidden_layers']} layers are more than its tensors make")
    config["rope_parameters"] = _rotations(values, tensors, family, own, config)
    if own.has_long_factors:
        # Where transformers has it beside the rotation, which would get another by default.
        length = config["rope_parameters"].get("original_max_position_embeddings")
        config["original_max_position_embeddings"] = length or config["max_position_embeddings"]
    if own.pattern is not None:
        config["layer_types"] = _layer_types(values, own.pattern, config)
    config |= bias_settings(family, tensors)
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        token_id = values.metadata.get(f"tokenizer.ggml.{key}_token_id")
        is_token = type(token_id) is int and token_id < config["vocab_size"]
        # A class of transformers would have ids of its own.
        config[f"{name}_token_id"] = token_id if is_token else None
    values.check_all_honoured(_expected(family, own, config), own.without_effect)
    # As the family's own configuration names them; the first of several names is in use.
    names = {other: name for name, other in reversed(list(family.aliases.items()))}
    return {names.get(key, key): value for key, value in config.items()}


def is_neutral(key: str, value: Any) -> bool:
    """Whether a key that is not honoured, behind an architecture's name, changes nothing."""
    return value in _NEUTRAL.get(key, _OFF)


def num_rows(tensors: Mapping[str, GgufTensor]) -> int:
    if "token_embd.weight" not in tensors:
        raise ValueError("it has no token_embd.weight")
    return tensors["token_embd.weight"].shape[0]


def _family(values: "_Values") -> Family:
    for family in families_of(values.architecture):
        needs = family.gguf.needs if family.gguf else None
        if needs is None or values.is_on(needs):
            return family
    raise ValueError(f"the architecture {shown(values.architecture)} is not computed")


def _expected(family: Family, own: Gguf, config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Values with which keys that nobody asked for change nothing in this family."""
    expected = dict(own.expects)
    if family.experts is not None:
        table = family.experts
        normalized = table.is_normalized
        is_normalized = config[normalized.name] if isinstance(normalized, Key) else normalized
        expected["expert_gating_func"] = (_SIGMOID if table.is_sigmoid else _SOFTMAX,)
        expected["expert_weights_norm"] = (is_normalized,)
    return expected


def _layer_types(values: "_Values", pattern: int, config: Mapping[str, Any]) -> list[str]:
    """Which layers have a window: a list of the file, or all but every so manieth."""
    count = config["num_hidden_layers"]
    told = values.get(_PATTERN, pattern)
    if type(told) is int and told >= 0:
        windows = [told == 0 or index % told < told - 1 for index in range(count)]
    elif isinstance(told, list) and len(told) == count and all(type(one) is bool for one in told):
        windows = told
    else:
        raise values.not_honoured(_PATTERN)
    if config["sliding_window"] is None:
        windows = [False] * count
    return ["sliding_attention" if has_window else "full_attention" for has_window in windows]


def _rotations(
    values: "_Values",
    tensors: Mapping[str, GgufTensor],
    family: Family,
    own: Gguf,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """`rope_parameters`, by types of layers where they rotate in several ways."""
    head_dim = config["head_dim"]
    width = values.get("rope.dimension_count", head_dim)
    if family.rotated_share is not None:
        if type(width) is not int or not 0 < width <= head_dim:
            raise values.not_honoured("rope.dimension_count")
    else:
        values.expect("rope.dimension_count", head_dim)
    base = values.above_zero("rope.freq_base", _DEFAULT_THETA)
    settings = _rotation(values, tensors, own, width, config["max_position_embeddings"])
    settings["rope_theta"] = base
    if family.rotated_share is not None:
        settings["partial_rotary_factor"] = width / head_dim
    local = values.above_zero("rope.freq_base_swa", own.local_base or base)
    if own.local_base is None and local != base:
        raise values.not_honoured("rope.freq_base_swa")
    if not family.rotations_by_type:
        return settings
    plain = {"rope_type": "default", "rope_theta": local}
    return {"full_attention": settings, "sliding_attention": plain}


def _rotation(
    values: "_Values", tensors: Mapping[str, GgufTensor], own: Gguf, width: int, context_length: int
) -> dict[str, Any]:
    """How positions are scaled, as llama.cpp reads it: a factor without a kind is linear."""
    factor = values.number("rope.scaling.factor", values.number("rope.scale_linear", 0.0)) or 1.0
    if factor < 0:
        raise values.not_honoured("rope.scaling.factor")
    kind = values.get("rope.scaling.type", "linear")
    length = values.count("rope.scaling.original_context_length", context_length)
    yarn = {
        name: values.number(f"rope.scaling.{key}")
        for name, key in (
            ("attention_factor", "yarn_attn_factor"),
            ("beta_fast", "yarn_beta_fast"),
            ("beta_slow", "yarn_beta_slow"),
        )
        if values.has(f"rope.scaling.{key}")
    }
    is_plain = kind == "none" or (kind == "linear" and factor == 1.0)
    if own.has_long_factors and ROPE_FACTORS["long_factor"] in tensors:
        if not is_plain and kind != "longrope":
            raise ValueError(_SCALED_TWICE.format(ROPE_FACTORS["long_factor"]))
        return {
            "rope_type": "longrope",
            **{name: _divisors(tensors, place, width) for name, place in ROPE_FACTORS.items()},
            "attention_factor": values.number("rope.scaling.attn_factor", 1.0),
            "original_max_position_embeddings": length,
        }
    if own.has_divisors and ROPE_FREQS in tensors:
        if not is_plain:
            raise ValueError(_SCALED_TWICE.format(ROPE_FREQS))
        # transformers has a name for that only where a text may become long: both are the same.
        divisors = _divisors(tensors, ROPE_FREQS, width)
        return {
            "rope_type": "longrope",
            "short_factor": divisors,
            "long_factor": divisors,
            "attention_factor": 1.0,
            "factor": 1.0,
            "original_max_position_embeddings": context_length,
        }
    if kind == "yarn":
        told = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": length}
        return told | yarn | dict(own.rotation)
    if is_plain:
        return {"rope_type": "default"}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    raise values.not_honoured("rope.scaling.type")


def _divisors(tensors: Mapping[str, GgufTensor], name: str, width: int) -> list[float]:
    """What divides the frequencies one by one, as files of Llama 3.1 and Phi-3 have it."""
    if name not in tensors:
        raise ValueError(f"it lacks {name}")
    factors = np.asarray(tensors[name].data)
    is_one_a_pair = tensors[name].type_name == "F32" and factors.shape == (width // 2,)
    if not is_one_a_pair or not (factors > 0).all():
        raise ValueError(f"{name} is not {width // 2} numbers above 0")
    return [float(str(factor)) for factor in factors]


class _Values:
    """The values under an architecture's name, and which of them were asked for."""

    def __init__(
        self, architecture: str, metadata: Mapping[str, Any], own_keys: Collection[str] = ()
    ):
        """`own_keys` are asked for by somebody else."""
        self.architecture = architecture
        self.metadata = metadata
        prefix = f"{architecture}."
        self._values = {
            key.removeprefix(prefix): value
            for key, value in metadata.items()
            if key.startswith(prefix)
        }
        self._asked: set[str] = set(own_keys)

    def has(self, key: str) -> bool:
        return key in self._values

    def is_on(self, key: str) -> bool:
        """Whether it is a number above 0, or anything that is none."""
        return self._values.get(key, 0) not in _OFF

    def setting(self, source: Any, config: Mapping[str, Any]) -> Any:
        """What a setting of a family's table means here."""
        if not isinstance(source, GgufKey):
            return source(config) if callable(source) else source
        if source.default is not None and not self.is_on(source.name):
            self._asked.add(source.name)
            return source.default(config) if callable(source.default) else source.default
        value = self.get(source.name)
        if type(value) is bool:
            return value
        return self.count(source.name) if type(value) is int else self.number(source.name)

    def get(self, key: str, default: Any = None) -> Any:
        """A value of any sort; raises ValueError where there is neither it nor a default."""
        self._asked.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise ValueError(f"it does not say {self.architecture}.{key}")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number above 0."""
        value = self.get(key, default)
        if type(value) is not int or value <= 0:
            raise self._odd(key, "a whole number above 0")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number as it was written, before it became one of 32 bits."""
        value = self.get(key, default)
        if type(value) not in (int, float) or not np.isfinite(value):
            raise self._odd(key, "a number")
        return float(str(np.float32(value)))

    def above_zero(self, key: str, default: float) -> float:
        """The same of numbers that make no sense otherwise."""
        value = self.number(key, default)
        if value <= 0:
            raise self._odd(key, "a number above 0")
        return value

    def expect(self, key: str, expected: int) -> None:
        """Raises ValueError where the file says something else."""
        if self.get(key, expected) != expected:
            raise self._odd(key, str(expected))

    def check_all_honoured(
        self, expected: Mapping[str, tuple[Any, ...]], without_effect: frozenset[str]
    ) -> None:
        """Raises ValueError with the first value that nobody asked for and that may change something."""
        for key in sorted(set(self._values) - self._asked - without_effect):
            value = self._values[key]
            is_expected = value in expected[key] if key in expected else is_neutral(key, value)
            if not is_expected and not self._hides_nothing(key, value):
                raise self.not_honoured(key)

    def not_honoured(self, key: str) -> ValueError:
        return ValueError(
            f"its {self.architecture}.{key} is {shown(self._values.get(key))}, which is not computed"
        )

    def _hides_nothing(self, key: str, value: Any) -> bool:
        """A window as long as the longest text."""
        return key == _WINDOW and type(value) is int and value >= self._values["context_length"]

    def _odd(self, key: str, allowed: str) -> ValueError:
        return ValueError(
            f"its {self.architecture}.{key} is {shown(self._values.get(key))} and not {allowed}"
        )
