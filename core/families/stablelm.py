"""StableLM: Llama's layers with layer norms, of whose heads a part rotates."""

from collections.abc import Callable
from typing import Any

from core.families.family import LAYER_NORM, LLAMA_NORMS, Family, Gguf, GgufKey, Key


def _norms(get: Callable[..., Any]) -> dict[str, Any]:
    if not get("use_parallel_residual"):
        return {"norms": LLAMA_NORMS}
    return {"norms": dict.fromkeys(LLAMA_NORMS, "input_layernorm"), "is_parallel": True}


FAMILY = Family(
    model_type="stablelm",
    class_name="StableLmForCausalLM",
    gguf=Gguf("stablelm", settings={"use_parallel_residual": GgufKey("use_parallel_residual")}),
    norm_eps=Key("layer_norm_eps"),
    is_layer_norm=True,
    norm_tensors=LAYER_NORM,
    biases=dict.fromkeys(("q", "k", "v"), Key("use_qkv_bias")),
    rotated_share=0.25,
    by_settings=_norms,
    expects={"qk_layernorm": False},
)
