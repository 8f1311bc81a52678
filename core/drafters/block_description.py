"""What a block drafter computes, as data (DFlash, arXiv 2602.06036; DSpark, arXiv 2607.05147).

Read are the forms of z-lab/dflash, sgl-project/SpecForge and vllm-project/speculators.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.drafters.eagle_description import Refusal, described_layers
from core.errors import shown
from core.families.description import Description
from core.modes.settings import MAX_TREE_NODES

_DFLASH = "dflash_config"
_SPECULATORS_IDS, _IDS = "aux_hidden_state_layer_ids", "target_layer_ids"
_DSPARK = "dspark"
_TYPES = ("dflash", _DSPARK)
MARKOV_KINDS = ("vanilla", "gated", "rnn")
_MOST_RANK = 1 << 14
# What DSpark's heads are where config.json does not say so: in SpecForge, and in speculators.
_HEADS: dict[str, Any] = {
    "markov_rank": 0, "markov_head_type": "vanilla", "enable_confidence_head": False,
    "confidence_head_with_markov": False,
}  # fmt: skip
_SPECULATORS_HEADS = {
    **_HEADS, "markov_rank": 256, "enable_confidence_head": True, "confidence_head_with_markov": True,
}  # fmt: skip
_SETTINGS = {
    "block_size", "draft_vocab_size", "input_embedding_scale", "mask_token_id", "num_target_layers",
    "projector_type", "sample_from_anchor", "target_hidden_size", _IDS, _SPECULATORS_IDS,
}  # fmt: skip
# At the value with which they ask for what all block drafters do.
_USUAL: dict[str, Any] = {
    "causal": False, "is_causal": False, "shift_label": False, "pure_draft_prefix_len": 0,
    "use_swa": False,
}  # fmt: skip
# Sizes tell what attention_mode says; the rest is of training, of engines or of our own.
_WITHOUT_EFFECT = {
    "architectures", "attention_mode", "auto_map", "dtype", "held_out", "sliding_window_non_causal",
    "speculators_config", "speculators_model_type", "speculators_version", "steps", "target_sha256",
    "torch_dtype", "transformers_version",
}  # fmt: skip


class HeadsDescription(NamedTuple):
    """What DSpark has behind the layers."""

    markov: str | None
    """One of `MARKOV_KINDS`: how a row's logits are corrected by the token before the drafted one."""
    markov_rank: int
    has_confidence: bool
    """Whether a head tells the chance that a row's draft is accepted."""
    confidence_reads_markov: bool
    """Whether it reads what the Markov head has of the token before as well."""


@dataclass(frozen=True, slots=True)
class BlockDescription:
    """A block drafter beside its weights."""

    described: Description
    state_layers: tuple[int, ...]
    """Of the target, whose inputs are fused; see `HeadDescription.state_layers`."""
    block_size: int
    """Rows of a pass: the root and mask tokens behind it."""
    from_root: bool
    """Whether every row drafts the token behind its own place, the root's the first one; otherwise the
    root's row drafts none, and each other the token at its own place."""
    heads: HeadsDescription
    mask_token_id: int
    draft_vocab_size: int | None
    target_size: int | None
    embedding_scale: float | None
    """None where config.json does not say it."""


def describe_block(
    config: Mapping[str, Any], num_target_layers: int, refused: Refusal
) -> BlockDescription:
    """Reads a config.json; raises what `refused` makes, as `describe_head` does."""
    is_nested = "speculators_model_type" in config
    if config.get("quantization_config") is not None:
        raise refused("is quantized; give one in 16 or 32 bits")
    nested = config.get(_DFLASH) or {}
    layers = config.get("transformer_layer_config") if is_nested else config
    if not isinstance(nested, Mapping) or not isinstance(layers, Mapping):
        raise refused("has no objects in its config.json where there should be some")
    told = {**(config if is_nested else {}), **nested}
    told.pop("transformer_layer_config", None)
    told |= {
        name: config[name]
        for name in (*_SETTINGS, *_HEADS, *_USUAL)
        if config.get(name) is not None
    }
    kind = told.get("projector_type") or config.get("speculators_model_type", "dflash")
    if kind not in _TYPES:
        raise refused(f"is of the type {shown(kind)}, not {' or '.join(_TYPES)}")
    known_here = _SETTINGS | _WITHOUT_EFFECT | (set(_HEADS) if kind == _DSPARK else set())
    for name, value in told.items():
        is_usual = name in _USUAL and value in (None, _USUAL[name])
        is_off = name not in _USUAL and (value is None or value is False)
        if not (is_usual or is_off or name in known_here):
            raise refused(f"sets {name} to {shown(value)}, which is not computed here")
    known = known_here | set(_USUAL) | {_DFLASH}
    described = described_layers(
        layers, refused, is_nested=is_nested, known=() if is_nested else known, types=("qwen3",)
    )
    if any(not kind.sees_all for kind in described.kinds):
        raise refused("has layers with a window, which is not computed here")
    if told.get("num_target_layers") not in (None, num_target_layers):
        raise refused(
            f"is for a target of {shown(told['num_target_layers'])} layers, not {num_target_layers}"
        )
    return BlockDescription(
        described=described,
        state_layers=_state_layers(told, len(described.kinds), num_target_layers, refused),
        block_size=_number(told, "block_size", 2, MAX_TREE_NODES, refused),
        from_root=_switch(told, "sample_from_anchor", kind == _DSPARK, refused),
        heads=_heads(
            told, _SPECULATORS_HEADS if is_nested and kind == _DSPARK else _HEADS, refused
        ),
        mask_token_id=_number(
            told, "mask_token_id", 0, described.architecture.vocab_size - 1, refused
        ),
        draft_vocab_size=told.get("draft_vocab_size"),
        target_size=told.get("target_hidden_size"),
        embedding_scale=told.get("input_embedding_scale"),
    )


def _number(told: Mapping[str, Any], name: str, low: int, high: int, refused: Refusal) -> int:
    value = told.get(name)
    if type(value) is not int or not low <= value <= high:
        raise refused(f"has {name} {shown(value)}, which is no number from {low} to {high}")
    return value


def _switch(told: Mapping[str, Any], name: str, default: bool, refused: Refusal) -> bool:
    value = told.get(name)
    value = default if value is None else value
    if not isinstance(value, bool):
        raise refused(f"has {name} {shown(value)}, which is neither true nor false")
    return value


def _heads(
    told: Mapping[str, Any], defaults: Mapping[str, Any], refused: Refusal
) -> HeadsDescription:
    told = {**defaults, **{name: told[name] for name in defaults if told.get(name) is not None}}
    rank = _number(told, "markov_rank", 0, _MOST_RANK, refused)
    markov = told["markov_head_type"]
    if markov not in MARKOV_KINDS:
        raise refused(
            f"has markov_head_type {shown(markov)}, which is none of {', '.join(MARKOV_KINDS)}"
        )
    has_confidence = _switch(told, "enable_confidence_head", False, refused)
    reads_markov = _switch(told, "confidence_head_with_markov", False, refused) and has_confidence
    if reads_markov and not rank:
        raise refused("has confidence_head_with_markov and markov_rank 0")
    return HeadsDescription(markov if rank else None, rank, has_confidence, reads_markov)


def _state_layers(
    told: Mapping[str, Any], num_layers: int, num_target_layers: int, refused: Refusal
) -> tuple[int, ...]:
    """speculators numbers layers by their inputs, the others by their outputs, which they spread over
    the target where config.json does not name them."""
    found = told.get(_SPECULATORS_IDS)
    shift = 0
    if found is None:
        found, shift = told.get(_IDS), 1
    if found is None:
        first, last = 1, num_target_layers - 3
        steps = range(num_layers)
        found = [round(first + step * (last - first) / max(1, num_layers - 1)) for step in steps]
        found = found if num_layers > 1 else [num_target_layers // 2]
    if not isinstance(found, list) or not found or any(type(number) is not int for number in found):
        raise refused(f"reads layers {shown(found)}, which are no numbers of layers")
    layers = tuple(number + shift for number in found)
    if not all(0 <= number <= num_target_layers for number in layers):
        raise refused(f"reads layers {found} and the target has {num_target_layers}")
    return layers
