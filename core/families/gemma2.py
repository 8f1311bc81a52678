"""Gemma 2: norms on both sides of each part, every other layer with a window, soft caps."""

from core.families.family import ATTENTION_BIASES, OUT_NORMS, Family, Key

FAMILY = Family(
    model_type="gemma2",
    class_name="Gemma2ForCausalLM",
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
