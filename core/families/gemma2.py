"""Gemma 2: norms on both sides of each part, every other layer with a window, soft caps."""

from collections.abc import Callable, Mapping
from typing import Any

from core.families.family import ATTENTION_BIASES, OUT_NORMS, Family, Gguf, GgufKey, Key


def scalar_of(largest: int) -> Callable[[Mapping[str, Any]], int]:
    """What the largest of a kind scales attention by, known by its layers, and what all others do.

    No key of a GGUF file says it.
    """

    def scalar(found: Mapping[str, Any]) -> int:
        if found["num_hidden_layers"] == largest:
            return int(found["hidden_size"] // found["num_attention_heads"])
        return int(found["head_dim"])

    return scalar


FAMILY = Family(
    model_type="gemma2",
    class_name="Gemma2ForCausalLM",
    gguf=Gguf(
        "gemma2",
        settings={
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": scalar_of(largest=46),
            "attn_logit_softcapping": GgufKey("attn_logit_softcapping", 50.0),
            "final_logit_softcapping": GgufKey("final_logit_softcapping", 30.0),
            "sliding_window": GgufKey("attention.sliding_window", 4096),
        },
        pattern=2,
    ),
    norms={
        "input_norm": "input_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        **OUT_NORMS,
    },
    biases=ATTENTION_BIASES,
    activation=Key("hidden_activation"),
    norm_offset=1.0,
    attention_scale=Key("query_pre_attn_scalar", -0.5),
    attention_cap=Key("attn_logit_softcapping"),
    embedding_scale=Key("hidden_size", 0.5),
    logit_cap=Key("final_logit_softcapping"),
    window="sliding_window",
    has_layer_types=True,
)
