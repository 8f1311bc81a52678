"""What a configuration says, by its family's table: the model's arithmetic, layer by layer."""

from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import Any, NamedTuple

from core.families.architecture import Architecture, Experts, LayerKind
from core.families.family import ExpertsOf, Family, Key, Value
from core.families.registry import FAMILIES

ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh", "relu": "relu", "relu2": "relu2", "clamped": "clamped",
}  # fmt: skip
_FULL, _WINDOW, _CHUNK = "full_attention", "sliding_attention", "chunked_attention"
# Rotations that depend on the position alone, not on the length of the whole text, and what of their
# settings is honoured.
_ROTATIONS = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    ),
    "yarn": (
        "factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
        "original_max_position_embeddings",
    ),
    "longrope": (
        "factor", "attention_factor", "short_factor", "long_factor",
        "original_max_position_embeddings",
    ),
}  # fmt: skip
_ROTATION_KEYS = (
    "rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor",
    "original_max_position_embeddings",
)  # fmt: skip
_COUNTS = (
    "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads",
    "num_hidden_layers", "num_key_value_heads", "vocab_size",
)  # fmt: skip
_SWITCHES = ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window")
_NUMBER = (int, float)
# Values of other types mean nothing here, and transformers refuses most; True is no 1.
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_COUNTS, (int,)),
    **dict.fromkeys(_SWITCHES, (bool,)),
    "head_dim": (int, NoneType),
    "rms_norm_eps": (float,),
    "rope_theta": (*_NUMBER, NoneType),
    "partial_rotary_factor": (*_NUMBER, NoneType),
    "rope_parameters": (dict, NoneType),
    "rope_scaling": (dict, NoneType),
    "layer_types": (list, NoneType),
    "sliding_window": (int, NoneType),
    "eos_token_id": (int, list, NoneType),
}
# They say where a model comes from, how it is trained or sampled, or how others store it.
WITHOUT_EFFECT = {
    "_attn_implementation_autoset", "_model_name_or_path", "_name_or_path", "architectures",
    "attention_dropout", "bos_token_id", "chunk_size_feed_forward", "classifier_dropout", "do_sample",
    "dtype", "embd_pdrop", "embedding_dropout", "eos_token_id", "hidden_dropout", "id2label",
    "initializer_range", "is_llama_config", "label2id",
    "max_length", "max_sequence_length", "max_window_layers", "model_max_length",
    "mtp_num_hidden_layers", "neftune_noise_alpha", "num_mtp_layers", "num_nextn_predict_layers",
    "output_attentions", "output_hidden_states", "output_router_logits",
    "pad_token_id", "pretraining_tp", "repetition_penalty", "resid_pdrop", "residual_dropout",
    "return_dict", "router_aux_loss_coef", "router_jitter_noise", "temperature", "tokenizer_class",
    "top_k", "top_p", "torch_dtype", "transformers.js_config", "transformers_version",
    "transformers_weights", "unk_token_id", "unsloth_fixed", "unsloth_version", "use_cache",
}  # fmt: skip
# A file may tell of any number; this is far more than any model has.
_MOST_OF_EACH = 1 << 14


class NotDescribedError(ValueError):
    """A configuration asks for something that no table has; the message is the rest of a sentence."""


class RotationSettings(NamedTuple):
    """One rotation as the configuration has it."""

    layer_type: str | None
    """Where each type of layers rotates in its own way."""
    settings: Mapping[str, Any] | None
    """None for layers without positions."""


class Description(NamedTuple):
    """A model beside its weights."""

    family: Family
    architecture: Architecture
    hidden_size: int
    inner_size: int
    """Width of the feed-forward of layers without experts."""
    kinds: tuple[LayerKind, ...]
    """Of each layer."""
    is_sparse: tuple[bool, ...]
    """Whether a layer has experts."""
    rotations: tuple[RotationSettings, ...]
    rotary_size: int
    """How many numbers of a head are rotated."""
    biases: frozenset[str]
    """Of q, k, v, o, gate, up, down and head."""
    is_packed: bool
    """Whether the experts are in a packed form."""
    is_tied: bool
    """Whether the head is the embedding, where the files have none or the same."""
    context_length: int

    def of_layer(self, index: int) -> "Description":
        """A model of one layer, as this one's `index` is."""
        return self._replace(
            architecture=replace(self.architecture, num_layers=1),
            kinds=(self.kinds[index],),
            is_sparse=(self.is_sparse[index],),
        )


def describe(config: Mapping[str, Any]) -> Description:
    """What our own forward is to compute.

    Raises NotDescribedError where it cannot, KeyError for a setting that the configuration leaves to
    transformers' defaults, and ValueError for one of an impossible value.
    """
    family = FAMILIES.get(config.get("model_type", ""))
    if family is None:
        raise NotDescribedError(
            f"{config.get('model_type')} is not one of {', '.join(sorted(FAMILIES))}"
        )
    own = {other: config[name] for name, other in family.aliases.items() if name in config}
    config = {key: value for key, value in config.items() if key not in family.aliases} | own
    for key, types in _TYPES.items():
        if key in config and type(config[key]) not in types:
            raise NotDescribedError(f"its {key} is of the type {type(config[key]).__name__}")
    return _Reader(family, config).description()


def reason_against(config: Mapping[str, Any]) -> str | None:
    """Why our own forward cannot compute what a config.json says; None where it can, or where only
    transformers' defaults can tell."""
    try:
        describe(config)
    except NotDescribedError as error:
        return str(error)
    except KeyError:
        return None
    return None


def has_packed_experts(config: Mapping[str, Any]) -> bool:
    """Whether a configuration tells of experts in a packed form that we read."""
    family, told = FAMILIES.get(str(config.get("model_type"))), config.get("quantization_config")
    stacked = family.experts.stacked if family is not None and family.experts is not None else None
    if stacked is None or stacked.packed is None or not isinstance(told, Mapping):
        return False
    return bool(told.get("quant_method") == stacked.packed)


class _Reader:
    """Reads settings, and knows at the end which of them nobody asked for."""

    def __init__(self, family: Family, config: Mapping[str, Any]):
        self._config = config
        self._asked = {"model_type", *family.without_effect, *_ROTATION_KEYS}
        own = family.by_settings(self._get) if family.by_settings else {}
        self._family = family._replace(**own)

    def description(self) -> Description:
        family = self._family
        num_layers = self._count("num_hidden_layers", _MOST_OF_EACH)
        num_heads = self._count("num_attention_heads", _MOST_OF_EACH)
        hidden_size = self._count("hidden_size")
        head_dim = self._head_dim(hidden_size, num_heads)
        kv_heads = self._value(family.kv_heads)
        num_kv_heads = num_heads if family.kv_heads is None else _positive(kv_heads)
        if num_heads % num_kv_heads or head_dim % 2 or head_dim > _MOST_OF_EACH:
            raise ValueError("heads that do not come out even")
        self._check_expected()
        is_sparse = self._sparse_layers(num_layers)
        settings, share = self._rotations()
        dense = family.experts.dense_size if family.experts else "intermediate_size"
        kinds, rotations = self._kinds(num_layers, settings)
        architecture = Architecture(
            num_layers=num_layers,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            vocab_size=self._count("vocab_size"),
            norm_eps=self._scale(family.norm_eps),
            activation=self._activation(),
            is_gated="up" not in family.feed_forward or "gate" in family.feed_forward,
            is_parallel=bool(self._value(family.is_parallel)),
            attention_scale=self._scalar(family.attention_scale),
            attention_cap=self._scalar(family.attention_cap),
            embedding_scale=self._scale(family.embedding_scale),
            residual_scale=self._scale(family.residual_scale),
            logit_scale=self._scale(family.logit_scale),
            logit_cap=self._scalar(family.logit_cap),
            experts=self._experts(family.experts) if any(is_sparse) else None,
        )
        described = Description(
            family=family,
            architecture=architecture,
            hidden_size=hidden_size,
            inner_size=self._count(dense),
            kinds=kinds,
            is_sparse=is_sparse,
            rotations=rotations,
            rotary_size=int(head_dim * share),
            biases=frozenset(part for part, value in family.biases.items() if self._value(value)),
            is_packed=self._is_packed(),
            is_tied=self._switch("tie_word_embeddings"),
            context_length=self._count("max_position_embeddings"),
        )
        if described.rotary_size % 2:
            raise ValueError("an odd number of a head's numbers rotates")
        self._check_all_asked()
        return described

    def _head_dim(self, hidden_size: int, num_heads: int) -> int:
        if self._get("head_dim", None) is None:
            return hidden_size // num_heads
        return self._count("head_dim")

    def _activation(self) -> str:
        name = self._value(self._family.activation)
        if name not in ACTIVATIONS:
            raise NotDescribedError(f"its activation is {name}")
        return ACTIVATIONS[name]

    def _check_expected(self) -> None:
        for name, value in self._family.expects.items():
            if self._get(name, value) != value:
                raise NotDescribedError(f"its {name} is {self._config[name]}")

    def _sparse_layers(self, num_layers: int) -> tuple[bool, ...]:
        experts = self._family.experts
        if experts is None:
            return (False,) * num_layers
        if experts.sparse_layers is not None:
            return tuple(index in self._get(experts.sparse_layers) for index in range(num_layers))
        dense = self._get(experts.dense_layers) if experts.dense_layers else ()
        step = self._count(experts.sparse_step) if experts.sparse_step else 1
        return tuple(
            index not in (dense or ()) and (index + 1) % step == 0 for index in range(num_layers)
        )

    def _is_packed(self) -> bool:
        is_so = has_packed_experts(self._config)
        self._asked |= {"quantization_config"} if is_so else set()
        return is_so

    def _experts(self, experts: ExpertsOf | None) -> Experts:
        assert experts is not None, "some layers have them"
        found = Experts(
            num_experts=self._count(experts.num_experts, _MOST_OF_EACH),
            num_per_token=self._count("num_experts_per_tok"),
            inner_size=self._count(experts.inner_size),
            shared_size=self._count(experts.shared_size) if experts.shared_size else None,
            is_sigmoid=experts.is_sigmoid,
            is_normalized=bool(self._value(experts.is_normalized)),
        )
        if found.num_per_token > found.num_experts:
            raise ValueError("more experts a token than there are")
        return found

    def _kinds(
        self, num_layers: int, settings: tuple[RotationSettings, ...]
    ) -> tuple[tuple[LayerKind, ...], tuple[RotationSettings, ...]]:
        """Of each layer, and the rotations with that of layers without positions."""
        family = self._family
        types = self._types(num_layers)
        unrotated = self._get(family.unrotated) if family.unrotated else (1,) * num_layers
        if family.rotates_windows_alone:
            unrotated = tuple(layer_type == _WINDOW for layer_type in types)
        if len(unrotated) != num_layers:
            raise ValueError("a list of another length than there are layers")
        window = self._window() if _WINDOW in types else None
        chunk = self._count(family.chunk) if family.chunk and _CHUNK in types else None
        numbers = {setting.layer_type: number for number, setting in enumerate(settings)}
        norms_rotated = bool(self._value(family.norms_rotated))
        temperature = self._temperature()
        kinds = []
        for layer_type, is_rotated in zip(types, unrotated, strict=True):
            seen = LayerKind(
                window=window if layer_type == _WINDOW else None,
                chunk=chunk if layer_type == _CHUNK else None,
            )
            if is_rotated:
                number = numbers.get(layer_type, 0)
                kinds.append(seen._replace(rotation=number, norms_rotated=norms_rotated))
            else:
                kinds.append(seen._replace(rotation=len(settings), temperature=temperature))
        nowhere = () if all(unrotated) else (RotationSettings(None, None),)
        return tuple(kinds), settings + nowhere

    def _types(self, num_layers: int) -> tuple[str, ...]:
        """What each layer sees, as transformers names it."""
        family = self._family
        is_used = family.has_window is None or bool(self._switch(family.has_window))
        told = self._get("layer_types", None)
        if told is not None and len(told) != num_layers:
            raise NotDescribedError(f"it tells the kinds of {len(told)} layers")
        if family.has_layer_types and (is_used or told is not None):
            types = tuple(self._get("layer_types"))
        else:
            others = set(told or ()) - {_FULL}
            if others:
                raise NotDescribedError(f"some of its layers are of the kind {min(others)}")
            window = self._get(family.window) if family.window and is_used else None
            types = (_FULL if window is None else _WINDOW,) * num_layers
        settings = {_FULL: True, _WINDOW: family.window, _CHUNK: family.chunk}
        unknown = {layer_type for layer_type in types if not settings.get(layer_type)}
        if unknown:
            raise NotDescribedError(f"some of its layers are of the kind {min(unknown)}")
        if family.window:
            self._get(family.window, None)
        return types

    def _window(self) -> int | None:
        """None as well where it hides nothing."""
        assert self._family.window is not None, "some layers have one"
        window = self._count(self._family.window)
        return window if window < self._count("max_position_embeddings") else None

    def _temperature(self) -> tuple[float, float] | None:
        if self._family.temperature is None:
            return None
        switch, rise, floor = self._family.temperature
        found = self._number(rise), self._number(floor)
        return found if self._get(switch) else None

    def _rotations(self) -> tuple[tuple[RotationSettings, ...], float]:
        """All rotations, and which share of a head they rotate."""
        if self._family.rotations_by_type:
            told = self._get("rope_parameters")
            parts = {name: part for name, part in told.items() if isinstance(part, dict)}
            if not parts:
                raise KeyError("rope_parameters")
            found = [RotationSettings(name, _settings(part, None)) for name, part in parts.items()]
        else:
            told = self._config.get("rope_scaling") or self._config.get("rope_parameters") or {}
            found = [RotationSettings(None, _settings(told, self._config))]
        shares = set()
        usual = self._family.rotated_share
        for rotation in found:
            settings = dict(rotation.settings or {})
            share = settings.pop("partial_rotary_factor", usual)
            shares.add(1.0 if share is None else float(share))
            _check_rotation(settings)
            if "rope_theta" not in settings:
                raise KeyError("rope_theta")
            if settings.get("short_factor") != settings.get("long_factor"):
                # Up to this length the rotation is the same.
                _positive(settings["original_max_position_embeddings"])
        if len(shares) > 1 or (shares != {1.0} and usual is None):
            raise NotDescribedError("it rotates only a part of each head")
        return tuple(found), shares.pop()

    def _check_all_asked(self) -> None:
        for key, value in self._config.items():
            is_off = value is None or value is False or value in ("", [], {})
            is_known = key in self._asked or key in WITHOUT_EFFECT
            if not is_known and (
                not is_off or (key == "quantization_config" and value is not None)
            ):
                raise NotDescribedError(
                    f"its configuration sets {key}, which our own forward does not know"
                )

    def _get(self, name: str, *default: Any) -> Any:
        self._asked.add(name)
        return self._config.get(name, *default) if default else self._config[name]

    def _value(self, value: Value) -> Any:
        """What a table's entry means here."""
        if not isinstance(value, Key):
            return value
        found = self._get(value.name)
        found = self._family.meanings.get(value.name, {}).get(found, found)
        return found if value.power == 1.0 or found is None else float(found) ** value.power

    def _count(self, name: str, most: int | None = None) -> int:
        count = _positive(self._get(name))
        if most is not None and count > most:
            raise ValueError(f"{name} is {count}")
        return count

    def _number(self, name: str) -> float:
        value = self._get(name)
        if type(value) not in _NUMBER:
            raise ValueError(f"{name} is no number")
        return float(value)

    def _scalar(self, value: Value) -> float | None:
        found = self._value(value)
        if found is not None and type(found) not in _NUMBER:
            raise ValueError("a setting is no number")
        return None if found is None else float(found)

    def _scale(self, value: Value) -> float:
        found = self._scalar(value)
        if found is None:
            raise ValueError("a setting is no number")
        return found

    def _switch(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise ValueError(f"{name} is neither true nor false")
        return value


def _positive(value: Any) -> int:
    """A number above 0; raises ValueError for everything else, as transformers does."""
    if type(value) is not int or value <= 0:
        raise ValueError(f"{value} is no number above 0")
    return value


def _settings(told: Mapping[str, Any], config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A rotation's settings wherever a configuration has them, old files outside `rope_parameters`."""
    given = {key: value for key, value in told.items() if value is not None}
    old_name = given.pop("type", "default")
    defaults: dict[str, Any] = {"rope_type": old_name}
    outside = config or {}
    if outside.get("rope_theta") is not None:
        defaults["rope_theta"] = outside["rope_theta"]
    if outside.get("partial_rotary_factor") is not None:
        defaults["partial_rotary_factor"] = outside["partial_rotary_factor"]
    if given.get("rope_type", old_name) in ("longrope", "yarn", "llama3"):
        length = outside.get("original_max_position_embeddings")
        if length is not None:
            defaults["original_max_position_embeddings"] = length
    return defaults | given


def _check_rotation(settings: dict[str, Any]) -> None:
    kind = settings.pop("rope_type")
    if kind not in _ROTATIONS:
        raise NotDescribedError(f"its rotary positions are of the type {kind}")
    unknown = set(settings) - {"rope_theta", *_ROTATIONS[kind]}
    if unknown:
        raise NotDescribedError(f"its rotary positions have the setting {min(unknown)}")
