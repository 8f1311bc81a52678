"""OLMo 2: norms behind each part alone, and over the queries and keys of all heads."""

from core.families.family import ATTENTION_BIASES, HEAD_NORMS, OUT_NORMS, Family, Gguf

FAMILY = Family(
    model_type="olmo2",
    class_name="Olmo2ForCausalLM",
    gguf=Gguf("olmo2"),
    norms=OUT_NORMS | HEAD_NORMS,
    norms_all_heads=True,
    biases=ATTENTION_BIASES,
)
