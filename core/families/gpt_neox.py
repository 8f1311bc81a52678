"""GPT-NeoX and Pythia: layer norms, a feed-forward beside attention and without a gate."""

from core.families.family import ALL_BIASES, LAYER_NORM, LLAMA_NORMS, Family, Gguf, GgufKey, Key

FAMILY = Family(
    model_type="gpt_neox",
    class_name="GPTNeoXForCausalLM",
    gguf=Gguf(
        "gptneox",
        settings={
            "hidden_act": "gelu",
            "use_parallel_residual": GgufKey("use_parallel_residual"),
        },
    ),
    embedding="gpt_neox.embed_in",
    final_norm="gpt_neox.final_layer_norm",
    layer="gpt_neox.layers.{}.",
    norms=LLAMA_NORMS,
    norm_eps=Key("layer_norm_eps"),
    is_layer_norm=True,
    norm_tensors=LAYER_NORM,
    attention={"qkv": "attention.query_key_value", "o": "attention.dense"},
    is_grouped=True,
    kv_heads=None,
    feed_forward={"up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"},
    is_parallel=Key("use_parallel_residual"),
    biases=ALL_BIASES | dict.fromkeys(("q", "k", "v", "o"), Key("attention_bias")),
    rotated_share=0.25,
    aliases={
        "rotary_pct": "partial_rotary_factor",
        "rotary_emb_base": "rope_theta",
    },
    without_effect=frozenset({"num_key_value_heads"}),
)
