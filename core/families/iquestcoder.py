"""IQuest-Coder, in Llama's shape."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family

FAMILY = Family(
    model_type="iquestcoder",
    class_name="IQuestCoderForCausalLM",
    biases=ATTENTION_BIASES | MLP_BIASES,
)
