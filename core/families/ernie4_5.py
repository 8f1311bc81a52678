"""ERNIE 4.5: Llama's layers, in whose heads neighbours rotate together."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family, Gguf, Key

FAMILY = Family(
    model_type="ernie4_5",
    class_name="Ernie4_5ForCausalLM",
    gguf=Gguf("ernie4_5"),
    biases=dict.fromkeys(ATTENTION_BIASES | MLP_BIASES, Key("use_bias")),
    is_interleaved=True,
)
