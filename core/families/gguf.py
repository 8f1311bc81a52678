"""A family as GGUF files hold it: with llama.cpp's names of tensors, in its order of rows.

What its converter changes of the numbers is known here: norms have their offset added, and experts
are stacked as linear layers are laid (conversion/, gguf-py/gguf/constants.py).
"""

from collections.abc import Collection

from core.families.description import Description
from core.families.family import ExpertsOf, Family, Key, Stacked
from core.families.registry import FAMILIES

_NAMES = {
    "input_norm": "attn_norm", "ffn_norm": "ffn_norm", "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm", "attention_out_norm": "post_attention_norm",
    "ffn_out_norm": "post_ffw_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
    "qkv": "attn_qkv", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "gate_up": "ffn_up",
    "down": "ffn_down",
}  # fmt: skip
_EXPERTS = {
    "router": "ffn_gate_inp", "gate": "ffn_gate_exps", "up": "ffn_up_exps", "down": "ffn_down_exps",
}  # fmt: skip
_SHARED = {
    "gate": "ffn_gate_shexp", "up": "ffn_up_shexp", "down": "ffn_down_shexp",
    "scale": "ffn_gate_inp_shexp",
}  # fmt: skip
_STACKED = Stacked(is_turned=False, weight=".weight", bias=".bias")
# Files may also hold these parts whole, which are pieces elsewhere.
_QKV, _Q, _GATE_UP = "blk.0.attn_qkv.weight", "blk.0.attn_q.weight", "ffn_gate_up_exps"


def families_of(architecture: str) -> list[Family]:
    """All families that llama.cpp calls so; those that need a value first."""
    found = [
        family
        for family in FAMILIES.values()
        if family.gguf is not None and family.gguf.architecture == architecture
    ]
    return sorted(found, key=lambda family: family.gguf is not None and family.gguf.needs is None)


def architectures() -> set[str]:
    """All that llama.cpp calls one of the families."""
    return {family.gguf.architecture for family in FAMILIES.values() if family.gguf is not None}


def in_gguf(described: Description, tensors: Collection[str]) -> Description:
    """The same model as a file with these tensors holds it."""
    family = described.family
    own = family.gguf
    assert own is not None, "llama.cpp has the family"
    names = {**_NAMES, **own.names}
    # A norm that two parts read has the name of the first.
    firsts = {name: part for part, name in reversed(list(family.norms.items()))}
    is_whole = _QKV in tensors and _Q not in tensors
    attention = ("qkv", "o") if is_whole else tuple(family.attention)
    changed = family._replace(
        embedding="token_embd",
        final_norm="output_norm",
        head="output",
        layer="blk.{}.",
        norms={part: names[firsts[name]] for part, name in family.norms.items()},
        norm_offset=0.0,
        attention={part: names[part] for part in attention},
        is_grouped=False,
        feed_forward={part: names[part] for part in family.feed_forward},
        sinks="attn_sinks.weight" if family.sinks else None,
        is_interleaved=family.is_interleaved or own.is_permuted,
        experts=_experts(family.experts, tensors) if family.experts else None,
    )
    return described._replace(family=changed)


def _experts(table: ExpertsOf, tensors: Collection[str]) -> ExpertsOf:
    parts = _EXPERTS
    if any(f".{_GATE_UP}." in name for name in tensors):
        parts = {"router": parts["router"], "gate_up": _GATE_UP, "down": parts["down"]}
    return table._replace(
        tensors=parts,
        stacked=_STACKED,
        shared={part: _SHARED[part] for part in table.shared},
        dense={part: _NAMES[part] for part in table.dense},
    )


def bias_settings(family: Family, tensors: Collection[str]) -> dict[str, bool]:
    """Settings that say which parts have biases, by the tensors that a file has."""
    assert family.gguf is not None, "llama.cpp has the family"
    names = {**_NAMES, **family.gguf.names}
    found: dict[str, bool] = {}
    for part, value in family.biases.items():
        if isinstance(value, Key):
            whole = names["qkv"] if part in "qkv" else names[part]
            ends = (f".{names[part]}.bias", f".{whole}.bias")
            has_bias = any(name.endswith(ends) for name in tensors)
            found[value.name] = found.get(value.name, False) or has_bias
    return found
