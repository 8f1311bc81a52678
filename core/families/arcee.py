"""AFM: Llama's layers with squares in place of a gate."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, UNGATED, Family, Gguf

FAMILY = Family(
    model_type="arcee",
    class_name="ArceeForCausalLM",
    gguf=Gguf("arcee", settings={"hidden_act": "relu2"}, is_permuted=True, has_divisors=True),
    feed_forward=UNGATED,
    biases=ATTENTION_BIASES | MLP_BIASES,
)
