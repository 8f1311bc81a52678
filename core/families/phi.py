"""Phi 1 and 2: one layer norm, an ungated feed-forward beside attention, biases up to the head."""

from core.families.family import ALL_BIASES, LAYER_NORM, Family, Gguf, Key

FAMILY = Family(
    model_type="phi",
    class_name="PhiForCausalLM",
    gguf=Gguf("phi2", settings={"hidden_act": "gelu_new"}),
    final_norm="model.final_layernorm",
    norms={"input_norm": "input_layernorm", "ffn_norm": "input_layernorm"},
    norm_eps=Key("layer_norm_eps"),
    is_layer_norm=True,
    norm_tensors=LAYER_NORM,
    attention={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.dense",
    },
    feed_forward={"up": "mlp.fc1", "down": "mlp.fc2"},
    is_parallel=True,
    biases=ALL_BIASES | {"head": True},
    rotated_share=0.5,
    expects={"qk_layernorm": False},
)
