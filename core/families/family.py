"""A family of models as a table: which setting of config.json says what, and how its tensors are named.

An allow-list. A setting that is neither named here nor known to change nothing sends the model to
transformers' own module, for it may well change the text.
"""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Key(NamedTuple):
    """A setting by its name."""

    name: str
    power: float = 1.0
    """What the number is raised to."""


Value = Key | bool | float | str | None

LLAMA_NORMS = MappingProxyType({
    "input_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
})  # fmt: skip
HEAD_NORMS = MappingProxyType({"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"})
# Norms of what a part makes, in front of the residual.
OUT_NORMS = MappingProxyType({
    "attention_out_norm": "post_attention_layernorm",
    "ffn_out_norm": "post_feedforward_layernorm",
})  # fmt: skip
ATTENTION = MappingProxyType({
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
})  # fmt: skip
FEED_FORWARD = MappingProxyType({
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
})  # fmt: skip
# What a layer norm has.
LAYER_NORM = ("weight", "bias")
UNGATED = MappingProxyType({"up": "mlp.up_proj", "down": "mlp.down_proj"})
ALL_BIASES = MappingProxyType(dict.fromkeys(("q", "k", "v", "o", "up", "down"), True))
ATTENTION_BIASES = MappingProxyType(dict.fromkeys(("q", "k", "v", "o"), Key("attention_bias")))
MLP_BIASES = MappingProxyType(dict.fromkeys(("gate", "up", "down"), Key("mlp_bias")))


class Stacked(NamedTuple):
    """Experts that a file holds in tensors of all of them."""

    is_interleaved: bool = False
    """Whether outputs of gate and up alternate in one tensor; else all of the gate come first."""
    packed: str | None = None
    """As what `quantization_config` may say that they are packed: then NAME_blocks and NAME_scales."""
    is_turned: bool = True
    """[expert, in_features, out_features], and not as those of linear layers."""
    weight: str = ""
    bias: str = "_bias"
    """Ends of the names."""


class ExpertsOf(NamedTuple):
    """Where a family says what its experts are."""

    num_experts: str
    inner_size: str
    tensors: Mapping[str, str]
    """Of `router`, and with {} for an expert's number of `gate`, `up`, `down`."""
    stacked: Stacked | None = None
    """`gate_up` and `down` of all experts are one tensor each."""
    biases: Mapping[str, Value] = MappingProxyType({})
    shared: Mapping[str, str] = MappingProxyType({})
    """Names of an expert for all rows (`gate`, `up`, `down`), and of what gates it (`scale`)."""
    shared_size: str | None = None
    dense: Mapping[str, str] = FEED_FORWARD
    """Of layers without experts."""
    dense_size: str = "intermediate_size"
    dense_layers: str | None = None
    """A list of layers without experts."""
    sparse_step: str | None = None
    """Every so manieth layer has experts."""
    sparse_layers: str | None = None
    """A list of layers with experts."""
    is_sigmoid: bool = False
    is_normalized: Value = True


class GgufKey(NamedTuple):
    """A value of a GGUF file, by its name behind the architecture's."""

    name: str
    default: Any = None
    """Where a file says nothing or 0, itself or as a function of the settings above; None where it
    must say it."""


class Gguf(NamedTuple):
    """How GGUF files hold a family: what llama.cpp calls it, and what it knows without being told."""

    architecture: str
    needs: str | None = None
    """A value above 0 that tells the family from others of the same architecture."""
    settings: Mapping[str, GgufKey | Callable[[Mapping[str, Any]], Any] | Any] = MappingProxyType(
        {}
    )
    """Of config.json, in this order: a value of the file, a function of the settings above, or what
    they always are."""
    names: Mapping[str, str] = MappingProxyType({})
    """Of parts that are not named as in `core.families.gguf`."""
    is_permuted: bool = False
    """Whether numbers that rotate together lie side by side, though folders have them half a head
    apart."""
    pattern: int | None = None
    """Every so manieth layer has no window, where the file does not say which."""
    local_base: float | None = None
    """Of the rotation of layers with a window, where they have one of their own."""
    has_divisors: bool = False
    """Whether a tensor may divide the frequencies one by one."""
    has_long_factors: bool = False
    """Whether two tensors may do so, one for short and one for long texts."""
    rotation: Mapping[str, Any] = MappingProxyType({})
    """Settings of scaled rotations that no file says."""
    expects: Mapping[str, tuple[Any, ...]] = MappingProxyType({})
    """Values with which a key changes nothing, beside those that hold for all."""
    without_effect: frozenset[str] = frozenset()
    """Keys that change nothing, whatever they say."""


# What all experts have in GGUF files; the first is named by the family.
GGUF_EXPERTS_USED = MappingProxyType({"num_experts_per_tok": GgufKey("expert_used_count")})
GGUF_EXPERT_COUNT = GgufKey("expert_count")
GGUF_EXPERT_SIZE = GgufKey("expert_feed_forward_length")
GGUF_WINDOW = GgufKey("attention.sliding_window")


class Family(NamedTuple):
    """One type of configurations, as transformers names it."""

    model_type: str
    class_name: str
    gguf: Gguf | None = None
    """None where llama.cpp does not have it."""
    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    layer: str = "model.layers.{}."
    """In front of the names of a layer's tensors."""
    norms: Mapping[str, str] = LLAMA_NORMS
    """Two of one name are one norm, which two parts read."""
    norm_eps: Value = Key("rms_norm_eps")
    is_layer_norm: bool = False
    """Whether norms take the mean away first (Ba et al. 2016)."""
    norm_tensors: Collection[str] = ("weight",)
    """What a norm has of `weight` and `bias`; without a weight its factors are 1."""
    attention: Mapping[str, str] = ATTENTION
    feed_forward: Mapping[str, str] = FEED_FORWARD
    """`gate_up` stands for one tensor of both, `qkv` of all three; there may be no gate."""
    is_grouped: bool = False
    """Whether `qkv` holds, head by head of the keys, its queries, the key and the value."""
    kv_heads: Value = Key("num_key_value_heads")
    """None where every head has keys of its own."""
    is_parallel: Value = False
    """Whether the feed-forward reads what attention reads."""
    norms_all_heads: bool = False
    """Whether queries and keys are normed over all heads together, not each for itself."""
    sinks: str | None = None
    """The whole name of a logit for each head that takes a share of attention and adds nothing."""
    biases: Mapping[str, Value] = MappingProxyType({})
    """Of the parts that may have some, and of the `head`."""
    activation: Value = Key("hidden_act")
    norm_offset: float = 0.0
    """Added to what a file holds of a norm's weight."""
    attention_scale: Value = None
    attention_cap: Value = None
    embedding_scale: Value = 1.0
    residual_scale: Value = 1.0
    logit_scale: Value = 1.0
    logit_cap: Value = None
    window: str | None = None
    """Which setting says how many tokens a layer sees."""
    has_window: str | None = None
    """Which switch says whether any layer does."""
    has_layer_types: bool = False
    """Whether `layer_types` says which layers; else all of them."""
    chunk: str | None = None
    rotations_by_type: bool = False
    """Whether each type of layers rotates in its own way."""
    unrotated: str | None = None
    """A list of one number a layer: 0 for layers without positions."""
    rotates_windows_alone: bool = False
    """Whether layers without a window have no positions."""
    rotated_share: float | None = None
    """What `partial_rotary_factor` is where no setting says it; None where it is not heeded."""
    is_interleaved: bool = False
    """Whether numbers that rotate together lie side by side."""
    norms_rotated: Value = False
    temperature: tuple[str, str, str] | None = None
    """Settings of `LayerKind.temperature` in layers without positions: switch, a, b."""
    experts: ExpertsOf | None = None
    aliases: Mapping[str, str] = MappingProxyType({})
    """Settings that go by names of the family's own, and what others call them."""
    by_settings: Callable[[Callable[..., Any]], dict[str, Any]] | None = None
    """Fields of this table that hang on settings, which it is given the means to ask for."""
    meanings: Mapping[str, Mapping[Any, Any]] = MappingProxyType({})
    """Values of settings that mean another, as the family's first files were published."""
    expects: Mapping[str, Any] = MappingProxyType({})
    """Settings that are computed at this value alone."""
    without_effect: frozenset[str] = frozenset()
    """Settings from which others were made."""
