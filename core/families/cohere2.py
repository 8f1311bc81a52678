"""Command R7B and A: Command R's layers, most with a window, the others without positions."""

from core.families.cohere import ONE_NORM
from core.families.family import ATTENTION_BIASES, GGUF_WINDOW, Family, Gguf, GgufKey, Key

FAMILY = Family(
    model_type="cohere2",
    class_name="Cohere2ForCausalLM",
    gguf=Gguf(
        "cohere2",
        settings={"logit_scale": GgufKey("logit_scale", 1.0), "sliding_window": GGUF_WINDOW},
        pattern=4,
    ),
    norms=ONE_NORM,
    norm_eps=Key("layer_norm_eps"),
    is_layer_norm=True,
    is_parallel=True,
    is_interleaved=True,
    biases=ATTENTION_BIASES,
    logit_scale=Key("logit_scale"),
    window="sliding_window",
    has_layer_types=True,
    rotates_windows_alone=True,
    without_effect=frozenset({"sliding_window_pattern", "_sliding_window_pattern"}),
)
