"""Gemma: scaled embeddings, norms counted from one, GELU."""

from core.families.family import ATTENTION_BIASES, Family, Gguf, Key

FAMILY = Family(
    model_type="gemma",
    class_name="GemmaForCausalLM",
    gguf=Gguf("gemma", settings={"hidden_act": "gelu_pytorch_tanh"}),
    norm_offset=1.0,
    biases=ATTENTION_BIASES,
    embedding_scale=Key("hidden_size", 0.5),
    meanings={"hidden_act": {"gelu": "gelu_pytorch_tanh"}},
)
