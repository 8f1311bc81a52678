"""Falcon with rotated positions: few keys, layer norms, an ungated feed-forward beside attention."""

from collections.abc import Callable
from typing import Any

from core.families.family import ALL_BIASES, LAYER_NORM, LLAMA_NORMS, Family, Key


def _forms(get: Callable[..., Any]) -> dict[str, Any]:
    """Falcon 40B and later have another number of keys and norms than 7B."""
    is_new, has_one_key = get("new_decoder_architecture"), get("multi_query")
    is_parallel, num_norms = get("parallel_attn"), get("num_ln_in_parallel_attn", None)
    norms = dict.fromkeys(LLAMA_NORMS, "input_layernorm")
    if is_new and num_norms in (None, 2):
        norms = {"input_norm": "ln_attn", "ffn_norm": "ln_mlp"}
    return {
        "norms": norms if is_new or is_parallel else LLAMA_NORMS,
        "kv_heads": Key("num_key_value_heads") if is_new else 1 if has_one_key else None,
        "is_parallel": is_new or is_parallel,
    }


FAMILY = Family(
    model_type="falcon",
    class_name="FalconForCausalLM",
    embedding="transformer.word_embeddings",
    final_norm="transformer.ln_f",
    layer="transformer.h.{}.",
    norm_eps=Key("layer_norm_epsilon"),
    is_layer_norm=True,
    norm_tensors=LAYER_NORM,
    attention={"qkv": "self_attention.query_key_value", "o": "self_attention.dense"},
    is_grouped=True,
    feed_forward={"up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"},
    biases=dict.fromkeys(ALL_BIASES, Key("bias")),
    activation=Key("activation"),
    aliases={
        "num_kv_heads": "num_key_value_heads",
        "ffn_hidden_size": "intermediate_size",
    },
    by_settings=_forms,
    expects={"alibi": False},
    without_effect=frozenset({"num_key_value_heads"}),
)
