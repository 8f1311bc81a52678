"""EXAONE 3, in Llama's shape."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family

FAMILY = Family(
    model_type="exaone",
    class_name="ExaoneForCausalLM",
    biases=ATTENTION_BIASES | MLP_BIASES,
    aliases={
        "num_layers": "num_hidden_layers",
        "layer_norm_epsilon": "rms_norm_eps",
        "activation_function": "hidden_act",
    },
)
