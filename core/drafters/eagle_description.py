"""What an EAGLE head computes, as data: one description for the forms in which heads are published.

They differ in where config.json says what, in what a number of a layer means, and in what a head
leaves to its reader. Read here are the forms of SafeAILab/EAGLE (1, 2 and 3), sgl-project/SpecForge,
vllm-project/speculators and NVIDIA/Model-Optimizer. A setting that is not known may change what a
head computes, and is refused by its name.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from core.drafters.eagle_head import default_feature_layers
from core.drafters.head_tensors import plain_name
from core.errors import DrafterUnavailableError, shown
from core.families.description import Description, NotDescribedError, describe
from core.models.quiet import quiet_transformers

Refusal = Callable[[str], DrafterUnavailableError]
"""Makes the error of a reason, which is the rest of a sentence about the head."""

# Whose decoder layers published heads are made of.
_LAYER_TYPES = ("llama", "qwen3")
_SPECULATORS_TYPES = ("eagle3", "peagle")
# What a head is where its config.json does not say so (SafeAILab's and SpecForge's classes).
_DEFAULTS: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 1, "hidden_act": "silu", "rms_norm_eps": 1e-6,
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
    "max_position_embeddings": 2048,
}  # fmt: skip
_ROPE_THETA = 10_000.0
HIDDEN_NORM = "layers.0.hidden_norm.weight"
"""The tensor that EAGLE-3 has and the earlier form has not."""
MASK_HIDDEN = "mask_hidden"
"""The tensor that P-EAGLE has."""
LAYER_IDS = "eagle_aux_hidden_state_layer_ids"
"""The setting with the numbers of the target's layers whose states are fused."""
# Of the head beside its layers, in config.json itself or in its `eagle_config`.
_SWITCHES = ("norm_before_residual", "norm_before_fc", "fc_norm", "norm_output")
# As vLLM looks for it.
_MASK_IDS = ("mask_token_id", "ptd_token_id", "pard_token")
_SETTINGS = {*_SWITCHES, *_MASK_IDS, LAYER_IDS, "draft_vocab_size", "target_hidden_size"}
# Model-Optimizer's, at the value with which they ask for what all heads do.
_USUAL: dict[str, Any] = {
    "use_aux_hidden_state": True, "use_input_layernorm_in_first_layer": True,
    "use_last_layernorm": True, "use_mtp_layernorm": False, "next_layer_regular": True,
    "parallel_draft_step": 1, "parallel_draft_heads_num_layers": 1,
}  # fmt: skip
# Tensors tell whether there are biases; the rest is of training, of engines or of our own.
_WITHOUT_EFFECT = {
    "architectures", "auto_map", "bias", "depth", "dtype", "eagle_decoder_type", "embed_requires_grad",
    "held_out", "qkv_bias", "speculators_config", "speculators_model_type", "speculators_version",
    "steps", "target_model_type", "target_sha256", "torch_dtype", "transformers_version",
}  # fmt: skip
_LAYERS = "transformer_layer_config"


@dataclass(frozen=True, slots=True)
class HeadDescription:
    """A head beside its weights."""

    described: Description
    """Its layers; the first of an EAGLE-3 head reads two rows beside each other."""
    state_layers: tuple[int, ...] | None
    """Of the target, whose inputs are fused; the number of layers stands for what the last one makes.
    None for EAGLE-1 and -2, which read what the target's output layer reads."""
    draft_vocab_size: int | None
    """None where config.json does not say it."""
    target_size: int | None
    """Width of the target's states, where config.json says it."""
    residual_is_normed: bool
    """Whether the first layer adds to the normed state, and not to the state as it is."""
    made_is_normed: bool
    """Whether the head drafts on from what its output layer reads."""
    mask_token_id: int | None
    """The token that stands for unknown ones, of a head that drafts in one pass (P-EAGLE)."""
    fuse_norm: str | None
    """"each" for a norm of every fused state, "all" for one of them together."""


def describe_head(
    config: Mapping[str, Any], names: Collection[str], num_target_layers: int, refused: Refusal
) -> HeadDescription:
    """Reads a config.json beside the names of the head's tensors.

    Raises what `refused` makes where a setting is unknown, of an impossible value, or asks for something
    that is not computed here.
    """
    is_eagle3 = any(plain_name(name) == HIDDEN_NORM for name in names)
    is_nested = "speculators_model_type" in config
    if config.get("speculators_model_type", "eagle3") not in _SPECULATORS_TYPES:
        raise refused(
            f"is of the type {shown(config['speculators_model_type'])}, not "
            f"{' or '.join(_SPECULATORS_TYPES)}"
        )
    if config.get("quantization_config") is not None:
        raise refused("is quantized; give one in 16 or 32 bits")
    own = _own_settings(config, refused)
    layers = config.get(_LAYERS) if is_nested else config
    if not isinstance(layers, Mapping):
        raise refused(f"has no {_LAYERS} in its config.json")
    described = described_layers(
        layers,
        refused,
        is_nested=is_nested,
        known=() if is_nested else _SETTINGS | _WITHOUT_EFFECT | {"eagle_config"},
    )
    switches = {name: own.get(name) or False for name in _SWITCHES}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise refused(f"has {name} {shown(value)}, which is neither true nor false")
    if switches["fc_norm"] and switches["norm_before_fc"]:
        raise refused("norms what it fuses twice, by fc_norm and norm_before_fc")
    if not is_eagle3:
        asked = [name for name in _SWITCHES if switches[name]]
        if asked:
            raise refused(f"has no EAGLE-3 layer and asks for {asked[0]}")
    return HeadDescription(
        described=described,
        state_layers=_state_layers(config, num_target_layers, refused) if is_eagle3 else None,
        draft_vocab_size=own.get("draft_vocab_size"),
        target_size=own.get("target_hidden_size"),
        residual_is_normed=switches["norm_before_residual"],
        made_is_normed=_made_is_normed(own, names, refused),
        mask_token_id=_mask_token_id(config, names, described, refused),
        fuse_norm="each" if switches["fc_norm"] else "all" if switches["norm_before_fc"] else None,
    )


def _own_settings(config: Mapping[str, Any], refused: Refusal) -> dict[str, Any]:
    """What config.json says of the head beside its layers."""
    nested = config.get("eagle_config") or {}
    if not isinstance(nested, Mapping):
        raise refused("has an eagle_config that is no object")
    for name, value in nested.items():
        if name in _USUAL:
            is_known = value in (None, _USUAL[name])
        else:
            is_known = name in _SETTINGS or name in _WITHOUT_EFFECT or _is_off(value)
        if not is_known:
            raise refused(
                f"sets {name} to {shown(value)} in eagle_config, which is not computed here"
            )
    if "speculators_model_type" in config:
        unknown = set(config) - _SETTINGS - _WITHOUT_EFFECT - {_LAYERS, "eagle_config"}
        asked = sorted(name for name in unknown if not _is_off(config[name]))
        if asked:
            raise refused(f"sets {asked[0]}, which is not known here")
    own = {name: config[name] for name in _SETTINGS if config.get(name) is not None}
    return {**{name: value for name, value in nested.items() if name in _SETTINGS}, **own}


def _is_off(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def described_layers(
    layers: Mapping[str, Any],
    refused: Refusal,
    *,
    is_nested: bool,
    known: Collection[str],
    types: tuple[str, ...] = _LAYER_TYPES,
) -> Description:
    """Layers by the table of the family that they are of.

    Settings that are `known` are no matter of theirs; `is_nested` are layers of which only that is
    written which their class has not by default.
    """
    given = dict(layers)
    if given.get("model_type", "llama") not in types:
        raise refused(
            f"is made of layers of the type {shown(given.get('model_type'))}, not {' or '.join(types)}"
        )
    if is_nested:
        given = _with_class_defaults(given)
    given = {name: value for name, value in given.items() if name not in known}
    _leave_out_unused_windows(given)
    given = {**_DEFAULTS, **given}
    if not (given.get("rope_theta") or given.get("rope_parameters")):
        given["rope_theta"] = _ROPE_THETA
    if given.get("num_key_value_heads") is None and "num_attention_heads" in given:
        given["num_key_value_heads"] = given["num_attention_heads"]
    try:
        return describe(given)
    except NotDescribedError as error:
        raise refused(f"is not computed here: {error}") from error
    except KeyError as error:
        raise refused(f"does not say {error.args[0]} in its config.json") from error
    except (ValueError, TypeError) as error:
        raise refused(f"has an impossible value in its config.json ({error})") from error


def _with_class_defaults(layers: Mapping[str, Any]) -> dict[str, Any]:
    from transformers import AutoConfig

    quiet_transformers()
    rest = {name: value for name, value in layers.items() if name != "model_type"}
    filled: dict[str, Any] = AutoConfig.for_model(layers["model_type"], **rest).to_dict()
    return filled


def _leave_out_unused_windows(layers: dict[str, Any]) -> None:
    """Windows are heeded by those layers alone that `layer_types` gives one."""
    if "sliding_attention" in (layers.get("layer_types") or ()):
        return
    for name in ("layer_types", "sliding_window", "max_window_layers", "use_sliding_window"):
        layers.pop(name, None)
    if layers.get("model_type") == "qwen3":
        layers |= {"use_sliding_window": False, "sliding_window": None}


def _state_layers(config: Mapping[str, Any], num_layers: int, refused: Refusal) -> tuple[int, ...]:
    """The layers whose inputs are fused.

    Whoever writes their numbers into config.json itself means inputs, and whoever writes them into
    `eagle_config` outputs, but where the number of layers is among them, which no output has.
    """
    told, is_output = config.get(LAYER_IDS), False
    if told is None:
        told = (config.get("eagle_config") or {}).get(LAYER_IDS)
        is_output = told is not None
    if told is None:
        return default_feature_layers(num_layers)
    if not isinstance(told, list) or not told or any(type(number) is not int for number in told):
        raise refused(f"has {LAYER_IDS} {shown(told)}, which are no numbers of layers")
    is_output = is_output and max(told) < num_layers
    found = tuple(number + is_output for number in told)
    if not all(0 <= number <= num_layers for number in found):
        raise refused(f"reads layers {told} and the target has {num_layers}")
    return found


def _made_is_normed(own: Mapping[str, Any], names: Collection[str], refused: Refusal) -> bool:
    """By `norm_output`, which SpecForge means otherwise than all others: as whether there is a norm in
    front of the output layer. Its layer is called `midlayer`."""
    told = own.get("norm_output")
    if told is None or not any("midlayer." in name for name in names):
        return bool(told)
    if told is False:
        raise refused("has norm_output false, which leaves out the norm of its output layer")
    return False


def _mask_token_id(
    config: Mapping[str, Any], names: Collection[str], described: Description, refused: Refusal
) -> int | None:
    told = next((config[name] for name in _MASK_IDS if config.get(name) is not None), None)
    if not any(plain_name(name) == MASK_HIDDEN for name in names):
        if told is not None or config.get("speculators_model_type") == "peagle":
            raise refused(f"drafts in one pass and has no {MASK_HIDDEN}")
        return None
    if type(told) is not int or not 0 <= told < described.architecture.vocab_size:
        raise refused(f"has mask_token_id {shown(told)}, which is no id of a token")
    return told
