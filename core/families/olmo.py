"""OLMo 1: Llama's layers with layer norms that have no weights."""

from core.families.family import ATTENTION_BIASES, Family, Gguf

FAMILY = Family(
    model_type="olmo",
    class_name="OlmoForCausalLM",
    gguf=Gguf("olmo", is_permuted=True),
    is_layer_norm=True,
    norm_tensors=(),
    norm_eps=1e-5,
    biases=ATTENTION_BIASES,
    expects={"clip_qkv": None},
)
