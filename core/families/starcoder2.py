"""StarCoder 2: layer norms, a feed-forward without a gate, biases, a window."""

from core.families.family import ALL_BIASES, LAYER_NORM, Family, Gguf, GgufKey, Key

FAMILY = Family(
    model_type="starcoder2",
    class_name="Starcoder2ForCausalLM",
    gguf=Gguf(
        "starcoder2",
        settings={
            "hidden_act": "gelu_pytorch_tanh",
            # That of all published ones; their files do not say it.
            "sliding_window": GgufKey("attention.sliding_window", 4096),
        },
    ),
    norm_eps=Key("norm_epsilon"),
    is_layer_norm=True,
    norm_tensors=LAYER_NORM,
    feed_forward={"up": "mlp.c_fc", "down": "mlp.c_proj"},
    biases=dict.fromkeys(ALL_BIASES, Key("use_bias")),
    window="sliding_window",
)
