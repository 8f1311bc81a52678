"""Command R: one layer norm, which attention and feed-forward read side by side."""

from core.families.family import ATTENTION_BIASES, Family, Gguf, GgufKey, Key

ONE_NORM = {"input_norm": "input_layernorm", "ffn_norm": "input_layernorm"}

FAMILY = Family(
    model_type="cohere",
    class_name="CohereForCausalLM",
    gguf=Gguf("command-r", settings={"logit_scale": GgufKey("logit_scale", 1.0)}),
    norms=ONE_NORM,
    norm_eps=Key("layer_norm_eps"),
    is_layer_norm=True,
    is_parallel=True,
    is_interleaved=True,
    biases=ATTENTION_BIASES,
    logit_scale=Key("logit_scale"),
    expects={"use_qk_norm": False},
)
