"""Makes the configuration of a small model out of that of any, by rule."""

import copy
from collections.abc import Iterator
from typing import Any

VOCAB_SIZE = 96
# Shorter than a short prompt, so that windows hide something; longer than drafts are deep.
WINDOW = 6
_NUM_HEADS = 4
_HEAD_DIM = 64
_CHUNK = 8
# Settings that only make a model large or see far, and the most that the small one has of each.
_MOST = {
    "intermediate_size": 64, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64,
    "expert_ffn_hidden_size": 64, "ffn_dim": 64, "ffn_hidden_size": 64, "n_inner": 64,
    "decoder_ffn_dim": 64, "num_experts": 8, "num_local_experts": 8, "n_routed_experts": 8,
    "moe_num_experts": 8, "zero_expert_num": 4, "num_experts_per_tok": 2, "moe_topk": 2,
    "n_group": 2, "num_expert_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
    "n_input_layers": 1, "n_recurrent_layers": 2, "n_output_layers": 1,
    "sliding_window": WINDOW, "attention_chunk_size": WINDOW, "window_size": WINDOW,
    "attention_window_size": WINDOW, "floor_scale": WINDOW, "index_topk": WINDOW,
    "chunk_size": _CHUNK, "mamba_chunk_size": _CHUNK, "block_size": _CHUNK,
}  # fmt: skip
# Words in the names of numbers that may be a multiple of the width by chance.
_NO_WIDTHS = ("position", "vocab", "token")


def small_configs(config: Any) -> Iterator[Any]:
    """Configurations with fewer layers, the narrowest first: what an architecture cannot be without is
    seen where one makes a module. `config` is that of transformers and stays as it is."""
    for narrow in (_with_few_heads, _with_narrow_states, None):
        small = copy.deepcopy(config)
        try:
            text = small.get_text_config()
            _shrink(text)
            if narrow is not None:
                narrow(text)
        except Exception:  # settings that are properties, or go by the layer
            continue
        yield small


def _shrink(text: Any) -> None:
    num_layers = text.num_hidden_layers
    fewer = _num_layers(text, num_layers)
    if getattr(text, "num_kv_shared_layers", None):  # they read what the other half keeps
        text.num_kv_shared_layers = fewer
        fewer = 2 * fewer
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == num_layers:
            setattr(text, key, value[:fewer])
        elif type(value) is not int:
            continue
        elif key in _MOST:
            setattr(text, key, min(value, _MOST[key]))
        elif "vocab_size" in key:  # also of a second table
            setattr(text, key, min(value, VOCAB_SIZE))
        elif key.endswith("token_id"):
            setattr(text, key, min(value, VOCAB_SIZE - 1))
        elif key.endswith(("layers", "blocks")) and value == num_layers:
            setattr(text, key, fewer)
    text.num_hidden_layers = fewer
    by_layer = getattr(text, "_heterogeneity_spec", None)  # settings that only some layers have
    if by_layer is not None:
        kept = {index: own for index, own in by_layer.per_layer_overrides.items() if index < fewer}
        text.per_layer_config = kept


def _num_layers(text: Any, num_layers: int) -> int:
    """As many as show every kind of layer."""
    lists = [getattr(text, "layer_types", None) or [], *vars(text).values()]
    fewer = 2
    for kinds in lists:
        if isinstance(kinds, list) and len(kinds) == num_layers:
            fewer = max([fewer, *(kinds.index(kind) + 1 for kind in kinds if type(kind) is str)])
    return fewer


def _with_few_heads(text: Any) -> None:
    """Gives attention few heads, and everything else that goes with the width its part of it."""
    width = text.hidden_size
    num_heads = getattr(text, "num_attention_heads", None) or max(1, width // _HEAD_DIM)
    num_kv_heads = getattr(text, "num_key_value_heads", None)
    head_dim = getattr(text, "head_dim", None) or width // num_heads
    ratio = max(1, width // (_NUM_HEADS * head_dim))
    for key, value in list(vars(text).items()):
        # Few heads of an indexer would score many tokens alike.
        if type(value) is int and "heads" in key and not key.startswith("index"):
            setattr(text, key, _NUM_HEADS if value == num_heads else max(1, value // ratio))
    if getattr(text, "num_attention_heads", None) is not None:  # under whatever name
        text.num_attention_heads = _NUM_HEADS
    if num_kv_heads is not None:
        text.num_key_value_heads = {1: 1, num_heads: _NUM_HEADS}.get(num_kv_heads, _NUM_HEADS // 2)
    if getattr(text, "head_dim", head_dim) is None:
        text.head_dim = head_dim
    _set_width(text, _NUM_HEADS * head_dim)


def _with_narrow_states(text: Any) -> None:
    _set_width(text, _NUM_HEADS * _HEAD_DIM)


def _set_width(text: Any, width: int) -> None:
    """Of the states between layers, with what is a multiple of it."""
    old = text.hidden_size
    for key, value in list(vars(text).items()):
        is_width = type(value) is int and value and value % old == 0
        if is_width and key not in _MOST and not any(word in key for word in _NO_WIDTHS):
            setattr(text, key, value // old * width)
